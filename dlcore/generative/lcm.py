"""Sampling of latent consistency models (LCM): a clean example in each step, then noise again, in 1 to 8 steps.

Luo et al. 2023, arXiv:2310.04378.

    x0 = c_skip x_t + c_out x0(x_t, t),   x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s) z,   z ~ N(0, I)
    c_skip = d / ((10 t)^2 + d),   c_out = 10 t / sqrt((10 t)^2 + d),   d = 0.25

x0(x_t, t) is what the network's prediction says. The timesteps are some of those that the model was distilled for.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.samplers import Denoise, Noise, integrate
from dlcore.generative.schedules import SamplingGrid
from dlcore.ops.checks import check_shapes

__all__ = ["lcm_sample", "lcm_timesteps"]


def lcm_timesteps(num_timesteps: int, num_inference_steps: int, num_distilled_steps: int = 50) -> np.ndarray:
    """Choose timesteps among those that the model was distilled for.

    Args:
      num_timesteps: T, of training.
      num_inference_steps: N, at most num_distilled_steps.
      num_distilled_steps: steps of distillation, at most T.

    Returns:
      [N] int32, falling from the last timestep.
    """
    check_shapes(num_timesteps=(num_timesteps, "int >= 1"))
    for name, value, most in (
        ("num_distilled_steps", num_distilled_steps, num_timesteps),
        ("num_inference_steps", num_inference_steps, num_distilled_steps),
    ):
        check_shapes(**{name: (value, f"int 1 to {most}")})
    distilled = np.arange(num_distilled_steps, 0, -1) * (num_timesteps // num_distilled_steps) - 1
    indices = np.linspace(0, num_distilled_steps, num_inference_steps, endpoint=False)
    return distilled[indices.astype(np.int32)].astype(np.int32)


def lcm_sample(
    denoise: Denoise, x: jax.Array, noise: Noise, grid: SamplingGrid, *, clip_sample: bool = False, **reading: Any
) -> Any:
    """Draw by steps of a latent consistency model.

    Args:
      x: [B, ...], standard normal start.
      grid: of `lcm_timesteps`, see `dlcore.generative.schedules.sampling_grid`.
      clip_sample: clip the predicted clean example to [-1, 1].
      **reading: `prediction` and `return_trajectory` of `dlcore.generative.samplers.integrate`.

    Returns:
      As `integrate`.
    """
    scaled, d = 10 * jnp.asarray(grid.timesteps, jnp.float32), 0.25

    def step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        # The boundary condition: x itself at timestep 0.
        root = jnp.sqrt(scaled[k] ** 2 + d)
        x0 = d / root**2 * x + scaled[k] / root * x0
        spread = jnp.where(alpha_cumprod_s < 1, jnp.sqrt(1 - alpha_cumprod_s), 0)
        return jnp.sqrt(alpha_cumprod_s) * x0 + spread * noise(k), extra

    return integrate(step, denoise, x, None, grid, clip_sample=clip_sample, **reading)
