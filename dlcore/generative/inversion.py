"""DDIM inversion: the noise that DDIM draws an example from, for edits that keep what is not edited.

Song et al. 2020, arXiv:2010.02502, section 4.3 (the path run backwards); Mokady et al. 2022, arXiv:2211.09794 (edits).

    x0 = (x_s - sqrt(1 - abar_s) eps(x_s, t)) / sqrt(abar_s)
    x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps(x_s, t)           from s to the noisier t

The network is asked at t, where the sampler asked it, but for x_s in place of x_t, which is not known: the path back is
that of the sampler as far as eps changes little in a step.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.generative.samplers import Denoise, Prediction, read_prediction, walk
from dlcore.generative.schedules import SamplingGrid

__all__ = ["ddim_invert"]


def ddim_invert(
    denoise: Denoise,
    x: jax.Array,
    grid: SamplingGrid,
    *,
    prediction: Prediction = "epsilon",
    return_trajectory: bool = False,
) -> Any:
    """Find the noise of examples.

    Args:
      x: [B, ...], clean examples.
      grid: that of the sampler, see `dlcore.generative.schedules.sampling_grid`; steps go from last to first.
      prediction: what the network predicts, see `dlcore.generative.samplers.read_prediction`.
      return_trajectory: return x after every step too.

    Returns:
      The noisy examples [B, ...] at the grid's first timestep, of the dtype of x; with `return_trajectory`
      (examples, [N + 1, B, ...] from x on).
    """
    check_choice("prediction", prediction, Prediction)
    rising_timesteps, dtype = jnp.asarray(grid.timesteps[::-1]), x.dtype

    def step(x, extra, k, alpha_cumprod_s, alpha_cumprod_t):
        output = denoise(x.astype(dtype), rising_timesteps[k])
        x0, eps = read_prediction(output, x, alpha_cumprod_s, prediction)
        return jnp.sqrt(alpha_cumprod_t) * x0 + jnp.sqrt(1 - alpha_cumprod_t) * eps, extra

    return walk(step, x, None, grid.alphas_cumprod[::-1], return_trajectory=return_trajectory)
