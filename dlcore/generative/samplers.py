"""Samplers of diffusion models: from noise to a sample, given a network that predicts the noise.

Ancestral: Ho, Jain & Abbeel 2020, arXiv:2006.11239. DDIM: Song, Meng & Ermon 2021, arXiv:2010.02502. DPM-Solver++ (2M):
Lu et al. 2022, arXiv:2211.01095.

    x0   = (x_t - sqrt(1 - abar_t) eps(x_t, t)) / sqrt(abar_t)                     clipped to [-1, 1] where asked
    ddpm: x_s = sqrt(abar_s) (1 - a) / (1 - abar_t) x0 + sqrt(a) (1 - abar_s) / (1 - abar_t) x_t + sigma z
          a = abar_t / abar_s,   sigma^2 = (1 - abar_s) / (1 - abar_t) (1 - a)       "small"; 1 - a for "large"
    ddim: x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - eta^2 sigma^2) eps + eta sigma z
    dpmpp: x_s = sqrt((1 - abar_s) / (1 - abar_t)) x_t + sqrt(abar_s) (1 - e^-h) D
          h = lambda_s - lambda_t,  lambda = log(abar / (1 - abar)) / 2
          D = x0 + h / (2 h_before) (x0 - x0_before); D = x0 in the first step and the last

s is the step before t on a grid of as few steps as wished, and abar_s = 1 after the last. Grids: "leading",
t = k floor(T / steps) + offset, and "linspace", from T - 1. These are the conventions of the diffusers library, and its
trajectories are met. Where x0 is clipped, DDIM takes eps from the clipped one, so that both always belong to x_t.

Each sampler is `(denoise, x, noise, alpha_bars, *, steps, ...)`: denoise(x [B, ...], t []) -> eps [B, ...], x the
start (standard normal), noise(k) the k-th step's standard normal draw of x's shape. With `trace` every step is given
too, [steps + 1, B, ...], the start first.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["SAMPLERS", "ddim", "ddpm", "dpmpp", "predicted_x0", "timesteps"]

Denoise = Callable[[jax.Array, jax.Array], jax.Array]
Noise = Callable[[jax.Array], jax.Array]


Spacing = Literal["leading", "linspace"]


def timesteps(total: int, steps: int, offset: int = 0, spacing: Spacing = "leading") -> np.ndarray:
    """[steps] int32, falling, of 0 .. total - 1: every floor(total / steps)-th, or from the last one to near 0.

    Raises:
      ValueError: there are more steps than the model has, or none, or the offset leads outside.
    """
    if not 1 <= steps <= total:
        raise ValueError(f"steps={steps} must lie in [1, {total}], the steps that the model was trained for")
    if spacing == "linspace":
        return np.linspace(0, total - 1, steps + 1).round()[:0:-1].astype(np.int32)
    grid = np.arange(steps)[::-1] * (total // steps) + offset
    if offset < 0 or grid[0] >= total:
        raise ValueError(f"offset={offset} leads outside the model's steps, 0 to {total - 1}")
    return grid.astype(np.int32)


def predicted_x0(x: Any, eps: Any, alpha_bar: Any, clip: bool) -> Any:
    """The clean example that a prediction of the noise stands for."""
    x0 = (x - jnp.sqrt(1 - alpha_bar) * eps) / jnp.sqrt(alpha_bar)
    return jnp.clip(x0, -1, 1) if clip else x0


def _run(step: Callable, x: jax.Array, extra: Any, alpha_bars: Any, grid: np.ndarray, trace: bool):
    """Scan `step(x, extra, k, t, abar_t, abar_s) -> (x, extra)` over a falling grid."""
    here = np.asarray(alpha_bars, np.float64)[grid]
    there = np.append(here[1:], 1.0)

    def body(carry, row):
        carry = step(*carry, *row)
        return carry, carry[0] if trace else None

    rows = (np.arange(len(grid)), grid, *(jnp.asarray(a, x.dtype) for a in (here, there)))
    (last, _), path = jax.lax.scan(body, (x, extra), jax.tree.map(jnp.asarray, rows))
    return (last, jnp.concatenate([x[None], path])) if trace else last


def ddpm(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    alpha_bars: np.ndarray,
    *,
    steps: int,
    clip: bool = True,
    variance: Literal["small", "large"] = "small",
    trace: bool = False,
) -> Any:
    """Ancestral sampling; the paper's own with as many steps as the model was trained for."""

    def step(x, extra, k, t, here, there):
        x0 = predicted_x0(x, denoise(x, t), here, clip)
        a = here / there
        mean = jnp.sqrt(there) * (1 - a) / (1 - here) * x0 + jnp.sqrt(a) * (1 - there) / (1 - here) * x
        spread = (1 - a) * ((1 - there) / (1 - here) if variance == "small" else 1)
        return mean + jnp.where(k < steps - 1, jnp.sqrt(spread), 0) * noise(k), extra

    return _run(step, x, None, alpha_bars, timesteps(len(alpha_bars), steps), trace)


def ddim(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    alpha_bars: np.ndarray,
    *,
    steps: int,
    clip: bool = True,
    eta: float = 0.0,
    offset: int = 0,
    trace: bool = False,
) -> Any:
    """DDIM: a deterministic path at eta = 0, the ancestral variance at eta = 1."""

    def step(x, extra, k, t, here, there):
        eps = denoise(x, t)
        x0 = predicted_x0(x, eps, here, clip)
        if clip:
            eps = (x - jnp.sqrt(here) * x0) / jnp.sqrt(1 - here)
        sigma = eta * jnp.sqrt((1 - there) / (1 - here) * (1 - here / there))
        x = jnp.sqrt(there) * x0 + jnp.sqrt(1 - there - sigma**2) * eps
        return (x if _zero(eta) else x + sigma * noise(k)), extra

    return _run(step, x, None, alpha_bars, timesteps(len(alpha_bars), steps, offset), trace)


def dpmpp(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    alpha_bars: np.ndarray,
    *,
    steps: int,
    clip: bool = True,
    spacing: Spacing = "leading",
    trace: bool = False,
) -> Any:
    """DPM-Solver++ of second order, multistep: good samples in 10 to 20 steps; draws nothing."""

    def half_log_snr(alpha_bar):
        return 0.5 * (jnp.log(alpha_bar) - jnp.log1p(-alpha_bar))

    def step(x, extra, k, t, here, there):
        x0 = predicted_x0(x, denoise(x, t), here, clip)
        x0_before, h_before = extra
        last = k == steps - 1
        h = half_log_snr(jnp.where(last, here, there)) - half_log_snr(here)  # not infinite in the last step
        second = (k > 0) & ~last
        d = x0 + jnp.where(second, h / (2 * jnp.where(second, h_before, 1)), 0) * (x0 - x0_before)
        decay = jnp.where(last, 0, jnp.exp(-h))
        x = jnp.sqrt((1 - there) / (1 - here)) * x + jnp.sqrt(there) * (1 - decay) * d
        return x, (x0, h)

    start = (jnp.zeros_like(x), jnp.zeros((), x.dtype))
    return _run(step, x, start, alpha_bars, timesteps(len(alpha_bars), steps, spacing=spacing), trace)


def _zero(eta: Any) -> bool:
    return isinstance(eta, int | float) and eta == 0


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "dpmpp": dpmpp}
