"""Figure of dlcore.generative.samplers; its docstring is the caption."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.samplers import ddim_sample, ddpm_sample
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["samplers"]


def samplers() -> "Figure":
    """Two samplers of one perfect denoiser, for data near -1 and 1, in 20 steps.

    Left and middle: ways from 15 starts. Ancestral sampling adds fresh noise at each step; DDIM adds none, and its ways
    are smooth. Right: ends of 400 starts. With DDIM the end is a function of the start, so that one can interpolate
    between two starts; ancestral sampling forgets it.
    """
    figure, (first, second, right) = new_figure((7.2, 2.6), 1, 3)
    start = jax.random.normal(jax.random.key(0), (400, 1))
    for ax, sampler, name, color, marker in (
        (first, ddpm_sample, "ancestral", VERMILION, "^"),
        (second, ddim_sample, "DDIM", BLUE, "o"),
    ):
        ways = _ways(sampler, start)
        ax.plot(ways[:, :15, 0], color=color, linewidth=0.8)
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="step", ylabel="x", ylim=(-2.8, 2.8), xticks=(0, 10, 20))
        right.plot(start[:, 0], ways[-1, :, 0], marker, color=color, markersize=2, label=name)
    right.set(xlabel="start", ylabel="end", ylim=(-1.5, 1.5))
    right.legend(frameon=False, fontsize=8, loc="center right", markerscale=2)
    return figure


_ABAR = alphas_cumprod(linear_betas(1000))
_WIDTH = 0.1


def _denoise(x: jax.Array, t: jax.Array) -> jax.Array:
    """The noise that is expected in x, exactly."""
    abar = jnp.asarray(_ABAR, jnp.float32)[t]
    variance = abar * _WIDTH**2 + 1 - abar
    gaps = x - jnp.sqrt(abar) * jnp.array([-1.0, 1.0])
    weights = jax.nn.softmax(-(gaps**2) / (2 * variance))
    return jnp.sqrt(1 - abar) * (weights * gaps).sum(-1, keepdims=True) / variance


def _ways(sampler: Callable, start: jax.Array) -> np.ndarray:
    """All points [21, B, 1] of the ways from the start."""

    def noise(k):
        return jax.random.normal(jax.random.fold_in(jax.random.key(1), k), start.shape)

    grid = sampling_grid(_ABAR, timesteps(1000, 20, "trailing"))
    run = functools.partial(sampler, _denoise, noise=noise, grid=grid, clip_sample=False, return_trajectory=True)
    return np.asarray(jax.jit(run)(start)[1])
