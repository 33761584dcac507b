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
from dlcore.generative.samplers import Denoise, Prediction, read_prediction
from dlcore.generative.schedules import SamplingGrid, to_acc_dtype

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
      denoise: the network.
      x: [B, ...], clean examples.
      grid: that of the sampler, see `dlcore.generative.schedules.sampling_grid`; steps go from last to first.
      prediction: what the network predicts, see `dlcore.generative.samplers.read_prediction`.
      return_trajectory: return x after every step too.

    Returns:
      The noisy examples [B, ...] at the grid's first timestep, of the dtype of x; with `return_trajectory`
      (examples, [N + 1, B, ...] from x on).

    Raises:
      ValueError: the network predicts something unknown.
    """
    check_choice("prediction", prediction, Prediction)
    start, dtype = to_acc_dtype(x), x.dtype
    alpha_cumprod = jnp.asarray(grid.alphas_cumprod[::-1], start.dtype)

    def body(x, row):
        t, alpha_cumprod_s, alpha_cumprod_t = row
        x0, eps = read_prediction(denoise(x.astype(dtype), t), x, alpha_cumprod_s, prediction)
        x = jnp.sqrt(alpha_cumprod_t) * x0 + jnp.sqrt(1 - alpha_cumprod_t) * eps
        return x, x.astype(dtype) if return_trajectory else None

    rows = jnp.asarray(grid.timesteps[::-1]), alpha_cumprod[:-1], alpha_cumprod[1:]
    noisy, path = jax.lax.scan(body, start, rows)
    noisy = noisy.astype(dtype)
    return (noisy, jnp.concatenate([x[None], path])) if return_trajectory else noisy
