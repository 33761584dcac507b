"""Trajectory consistency sampling (TCD): jump along the path to less noise than the next step has, then add noise.

Zheng et al. 2024, arXiv:2402.19159.

    x_s' = sqrt(abar_s') x0(x_t, t) + sqrt(1 - abar_s') eps(x_t, t),   s' = floor((1 - eta) s)
    x_s = sqrt(abar_s / abar_s') x_s' + sqrt(1 - abar_s / abar_s') z,   z ~ N(0, I);   the last step adds none

s is the timestep after t. With eta = 0 it is DDIM; with eta = 1 each step goes to the first timestep and adds noise
from there, as a consistency model does. The paper's gamma is eta here, as in the diffusers library. It is made for
networks that were distilled to jump, and draws from any diffusion model.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.generative.samplers import Denoise, Noise, integrate
from dlcore.generative.schedules import SamplingGrid
from dlcore.ops.checks import check_range, check_shapes

__all__ = ["tcd_sample"]


def tcd_sample(
    denoise: Denoise, x: jax.Array, noise: Noise, grid: SamplingGrid, *, eta: float = 0.3, **reading: Any
) -> Any:
    """Draw by trajectory consistency sampling.

    Args:
      x: [B, ...], standard normal start.
      grid: of `dlcore.generative.schedules.sampling_grid`, with abar of all timesteps of training.
      eta: from 0, which follows a deterministic path, to 1, which starts anew in each step.
      **reading: `prediction`, `clip_sample` and `return_trajectory` of `dlcore.generative.samplers.integrate`.

    Returns:
      As `integrate`.
    """
    check_shapes(eta=(eta, "0 to 1"))
    if grid.train_alphas_cumprod is None:
        raise ValueError("train_alphas_cumprod=None: tcd jumps between the steps; allowed: a grid of sampling_grid")
    # Noise level of each jump; the last one is that where sampling ends.
    check_range("timesteps", grid.timesteps, 0, len(grid.train_alphas_cumprod) - 1)
    jumps = jnp.floor((1 - eta) * jnp.asarray(grid.timesteps, jnp.float32)[1:]).astype(jnp.int32)
    jump_levels = jnp.append(jnp.asarray(grid.train_alphas_cumprod)[jumps], jnp.asarray(grid.alphas_cumprod)[-1])

    def step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        level = jump_levels.astype(x.dtype)[k]
        jump = jnp.sqrt(level) * x0 + jnp.sqrt(1 - level) * eps
        ratio = alpha_cumprod_s / level
        return jnp.sqrt(ratio) * jump + jnp.sqrt(jnp.maximum(1 - ratio, 0)) * noise(k), extra

    return integrate(step, denoise, x, None, grid, **reading)
