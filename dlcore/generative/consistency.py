"""Consistency models: a network that gives the clean example from any noise level in one step.

Song, Dhariwal, Chen & Sutskever 2023, arXiv:2303.01469.

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise),   D(x, sigma_min) = x
    x' = D(x, sigma) + sqrt(sigma'^2 - sigma_min^2) z,   z ~ N(0, I),   sigma' < sigma

`dlcore.generative.edm.edm_factors` has the factors. More steps add noise again and take it away.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.edm import precondition, with_timesteps
from dlcore.generative.samplers import Denoise, Noise, walk

__all__ = ["consistency_sample"]


def consistency_sample(
    network: Denoise,
    x: jax.Array,
    noise: Noise,
    sigmas: np.ndarray,
    *,
    sigma_data: float = 0.5,
    clip_sample: bool = True,
    return_trajectory: bool = False,
) -> Any:
    """Draw by steps of a consistency model.

    Args:
      network: (scaled x [B, ...], 1000 c_noise []) -> output [B, ...].
      x: [B, ...], noise of the deviation sigmas[0].
      noise: draws a step's noise.
      sigmas: [N + 1], falling to sigma_min, where the last step adds no noise.
      sigma_data: deviation of the examples.
      clip_sample: clip the predicted clean example to [-1, 1].
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...], of the dtype of x; with `return_trajectory` (sample, [N + 1, B, ...] from x on).

    Raises:
      ValueError: a sigma is not finite, or there are fewer than two.
    """
    sigma_min, dtype = float(sigmas[-1]), x.dtype
    denoise = precondition(with_timesteps(network), sigma_data, sigma_min)

    def step(x, extra, k, sigma, sigma_next):
        x0 = denoise(x.astype(dtype), sigma)
        x0 = jnp.clip(x0, -1, 1) if clip_sample else x0
        return x0 + jnp.sqrt(jnp.maximum(sigma_next**2 - sigma_min**2, 0)) * noise(k), extra

    return walk(step, x, None, sigmas, return_trajectory=return_trajectory)
