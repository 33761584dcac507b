"""Samplers of diffusion models: from noise to a sample, given a network that predicts the noise.

Ancestral: Ho, Jain & Abbeel 2020, arXiv:2006.11239. DDIM: Song, Meng & Ermon 2021, arXiv:2010.02502.

    x0   = (x_t - sqrt(1 - abar_t) eps(x_t, t)) / sqrt(abar_t)                     clipped to [-1, 1] where asked
    ddpm: x_s = sqrt(abar_s) (1 - a) / (1 - abar_t) x0 + sqrt(a) (1 - abar_s) / (1 - abar_t) x_t + sigma z
          a = abar_t / abar_s,   sigma^2 = (1 - abar_s) / (1 - abar_t) (1 - a)  "fixed_small"; 1 - a  "fixed_large"
    ddim: x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - eta^2 sigma^2) eps + eta sigma z

s follows t on a falling grid of timesteps, and abar_s = 1 in the last step. The conventions are those
of the diffusers library, whose trajectories the tests reproduce. Where x0 is clipped, DDIM recomputes eps from the
clipped x0, so that both always belong to x_t.

Any of them draws from p(x | y) once the network is conditioned (Dhariwal & Nichol 2021, arXiv:2105.05233):

    eps(x_t, t, y) = eps(x_t, t) - scale sqrt(1 - abar_t) grad log p(y | x_t)
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Denoise", "Noise", "condition", "ddim_sample", "ddpm_sample", "integrate", "predict_x0", "timesteps"]

Denoise = Callable[[jax.Array, jax.Array], jax.Array]
"""(x [B, ...], timestep []) -> predicted noise [B, ...]."""
Noise = Callable[[jax.Array], jax.Array]
"""Step k [] -> standard normal noise [B, ...], a new draw for each k."""


def timesteps(num_timesteps: int, num_inference_steps: int) -> np.ndarray:
    """Choose the timesteps that a sampler visits: every floor(T / N)-th from 0, diffusers' "leading" spacing.

    Args:
      num_timesteps: T, of training.
      num_inference_steps: N, from 1 to T.

    Returns:
      [N] int32, falling to 0.

    Raises:
      ValueError: N is not in [1, T].
    """
    if not 1 <= num_inference_steps <= num_timesteps:
        raise ValueError(f"num_inference_steps={num_inference_steps}: out of range; allowed: 1 to {num_timesteps}")
    return (np.arange(num_inference_steps)[::-1] * (num_timesteps // num_inference_steps)).astype(np.int32)


def predict_x0(x: Any, eps: Any, abar: Any, clip_sample: bool) -> Any:
    """Recover the clean example from a prediction of the noise.

    Args:
      x: [...], x_t.
      eps: [...], predicted noise.
      abar: [], alphas_cumprod at t.
      clip_sample: clip the result to [-1, 1].

    Returns:
      x_0, [...].
    """
    x0 = (x - jnp.sqrt(1 - abar) * eps) / jnp.sqrt(abar)
    return jnp.clip(x0, -1, 1) if clip_sample else x0


def condition(
    denoise: Denoise,
    log_probability: Callable[[jax.Array, jax.Array], jax.Array],
    alphas_cumprod: np.ndarray,
    scale: float | jax.Array = 1.0,
) -> Denoise:
    """Steer a network towards what a classifier of noisy examples recognizes.

    Args:
      denoise: the network.
      log_probability: (x [B, ...], timestep []) -> log p(y | x_t) [B], of what each example shall be.
      alphas_cumprod: [T].
      scale: strength; 1 draws from p(x | y), more from its modes, and 0 leaves the network.

    Returns:
      The conditioned network, for any sampler.
    """
    abar = jnp.asarray(alphas_cumprod)

    def conditioned(x: jax.Array, t: jax.Array) -> jax.Array:
        slope = jax.grad(lambda x: log_probability(x, t).sum())(x)
        return denoise(x, t) - scale * jnp.sqrt(1 - abar[t]).astype(x.dtype) * slope

    return conditioned


def integrate(
    step: Callable, x: jax.Array, extra: Any, alphas_cumprod: np.ndarray, grid: np.ndarray, return_trajectory: bool
) -> Any:
    """Scan a sampler's step over its timesteps.

    Args:
      step: `(x, extra, k, t, abar_t, abar_s) -> (x, extra)`, the k-th step, from timestep t to s; in the last
        abar_s is 1.
      x: [B, ...], start.
      extra: whatever else the sampler carries.
      alphas_cumprod: [T].
      grid: [N] int, falling timesteps.
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...]; with `return_trajectory` (sample, [N + 1, B, ...] from the start on).
    """
    abar_t = np.asarray(alphas_cumprod, np.float64)[grid]
    abar_s = np.append(abar_t[1:], 1.0)
    rows = (jnp.arange(len(grid)), jnp.asarray(grid), jnp.asarray(abar_t, x.dtype), jnp.asarray(abar_s, x.dtype))

    def body(carry, row):
        carry = step(*carry, *row)
        return carry, carry[0] if return_trajectory else None

    (sample, _), path = jax.lax.scan(body, (x, extra), rows)
    return (sample, jnp.concatenate([x[None], path])) if return_trajectory else sample


def ddpm_sample(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    alphas_cumprod: np.ndarray,
    grid: np.ndarray,
    *,
    clip_sample: bool = True,
    variance_type: Literal["fixed_small", "fixed_large"] = "fixed_small",
    return_trajectory: bool = False,
) -> Any:
    """Draw by ancestral sampling, which is the paper's where the grid has every timestep.

    Args:
      denoise: the network.
      x: [B, ...], standard normal start.
      noise: draws a step's noise.
      alphas_cumprod: [T].
      grid: [N] int, falling, see `timesteps`.
      clip_sample: clip the predicted clean example to [-1, 1].
      variance_type: sigma^2 above.
      return_trajectory: return x after every step too.

    Returns:
      As `integrate`.
    """

    def step(x, extra, k, t, abar_t, abar_s):
        x0 = predict_x0(x, denoise(x, t), abar_t, clip_sample)
        a = abar_t / abar_s
        mean = jnp.sqrt(abar_s) * (1 - a) / (1 - abar_t) * x0 + jnp.sqrt(a) * (1 - abar_s) / (1 - abar_t) * x
        variance = (1 - a) * ((1 - abar_s) / (1 - abar_t) if variance_type == "fixed_small" else 1)
        return mean + jnp.where(abar_s < 1, jnp.sqrt(variance), 0) * noise(k), extra

    return integrate(step, x, None, alphas_cumprod, grid, return_trajectory)


def ddim_sample(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    alphas_cumprod: np.ndarray,
    grid: np.ndarray,
    *,
    clip_sample: bool = True,
    eta: float = 0.0,
    return_trajectory: bool = False,
) -> Any:
    """Draw by DDIM.

    Args:
      denoise: the network.
      x: [B, ...], standard normal start.
      noise: draws a step's noise.
      alphas_cumprod: [T].
      grid: [N] int, falling, see `timesteps`.
      clip_sample: clip the predicted clean example to [-1, 1].
      eta: 0 follows a deterministic path; 1 has the ancestral variance.
      return_trajectory: return x after every step too.

    Returns:
      As `integrate`.
    """

    def step(x, extra, k, t, abar_t, abar_s):
        eps = denoise(x, t)
        x0 = predict_x0(x, eps, abar_t, clip_sample)
        if clip_sample:
            eps = (x - jnp.sqrt(abar_t) * x0) / jnp.sqrt(1 - abar_t)
        sigma = eta * jnp.sqrt((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s))
        x = jnp.sqrt(abar_s) * x0 + jnp.sqrt(1 - abar_s - sigma**2) * eps
        return (x if isinstance(eta, int | float) and eta == 0 else x + sigma * noise(k)), extra

    return integrate(step, x, None, alphas_cumprod, grid, return_trajectory)
