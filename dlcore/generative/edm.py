"""Samplers of networks in terms of the noise level sigma: EDM's Euler method, and steps of a consistency model.

Karras et al. 2022, arXiv:2206.00364; Song et al. 2023, arXiv:2303.01469.

    x = x0 + sigma z,   sigma from sigma_max to sigma_min, evenly spaced in sigma^(1 / rho)
    x0 = c_skip x + c_out network(x / sqrt(sigma^2 + sigma_data^2), c_noise),    d = sigma_data^2
    EDM            c_skip = d / (sigma^2 + d),  c_out = sigma sigma_data / sqrt(sigma^2 + d),  c_noise = log(sigma) / 4
                   x = x + (sigma' - sigma) (x - x0) / sigma
    consistency    c_skip = d / ((sigma - sigma_min)^2 + d),  c_out = (sigma - sigma_min) sigma_data / sqrt(sigma^2 + d)
                   c_noise = 250 log(sigma),   x = x0 + sqrt(sigma'^2 - sigma_min^2) z

A consistency model gives x0 from any level in one step; more steps add noise again and take it away.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.samplers import Denoise, Noise, walk
from dlcore.generative.schedules import to_acc_dtype

__all__ = ["consistency_sample", "edm_sample"]


def edm_sample(
    network: Denoise, x: jax.Array, sigmas: np.ndarray, *, sigma_data: float = 0.5, return_trajectory: bool = False
) -> Any:
    """Draw by Euler's method on EDM's differential equation, deterministically.

    Args:
      network: (scaled x [B, ...], c_noise []) -> output [B, ...].
      x: [B, ...], noise of the deviation sigmas[0].
      sigmas: [N + 1], falling; the last may be 0.
      sigma_data: deviation of the examples.
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...], of the dtype of x; with `return_trajectory` (sample, [N + 1, B, ...] from x on).

    Raises:
      ValueError: a sigma is not finite, or there are fewer than two.
    """
    d = sigma_data**2

    def step(x, extra, k, sigma, sigma_next):
        root = jnp.sqrt(sigma**2 + d)
        output = to_acc_dtype(network((x / root).astype(dtype), jnp.log(sigma) / 4))
        x0 = d / root**2 * x + sigma * sigma_data / root * output
        return x + (sigma_next - sigma) * (x - x0) / sigma, extra

    dtype = x.dtype
    return walk(step, x, None, sigmas, return_trajectory=return_trajectory)


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
      network: (scaled x [B, ...], c_noise []) -> output [B, ...].
      x: [B, ...], noise of the deviation sigmas[0].
      noise: draws a step's noise.
      sigmas: [N + 1], falling to sigma_min, where the last step adds no noise.
      sigma_data: deviation of the examples.
      clip_sample: clip the predicted clean example to [-1, 1].
      return_trajectory: return x after every step too.

    Returns:
      As `edm_sample`.
    """
    d, sigma_min, dtype = sigma_data**2, float(sigmas[-1]), x.dtype

    def step(x, extra, k, sigma, sigma_next):
        root = jnp.sqrt(sigma**2 + d)
        output = to_acc_dtype(network((x / root).astype(dtype), 250 * jnp.log(sigma)))
        # The boundary condition: x itself at sigma_min.
        x0 = d / ((sigma - sigma_min) ** 2 + d) * x + (sigma - sigma_min) * sigma_data / root * output
        x0 = jnp.clip(x0, -1, 1) if clip_sample else x0
        return x0 + jnp.sqrt(jnp.maximum(sigma_next**2 - sigma_min**2, 0)) * noise(k), extra

    return walk(step, x, None, sigmas, return_trajectory=return_trajectory)
