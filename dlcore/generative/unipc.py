"""UniPC: a second-order predictor-corrector sampler of diffusion models, for good samples in 5 to 10 steps.

Zhao et al. 2023, arXiv:2302.04867 (UniPC-2, data prediction, B(h) = e^-h - 1: "bh2").

    h = lambda_s - lambda_t,   lambda = log(abar / (1 - abar)) / 2,   r = (lambda_u - lambda_t) / h;   u, t, s in turn
    E = sqrt((1 - abar_s) / (1 - abar_t)) x_t + sqrt(abar_s) (1 - e^-h) m_t,   m: the predicted clean example
    predict   x_s = E + sqrt(abar_s) (1 - e^-h) (m_u - m_t) / (2 r)
    correct   x_s = E + sqrt(abar_s) (1 - e^-h) (rho1 (m_u - m_t) / r + rho2 (m_s - m_t)),   m_s at the predicted x_s
              rho1 + rho2 = b1,   r rho1 + rho2 = b2,   b1 = p2 / (e^-h - 1),   b2 = 2 p3 / (e^-h - 1)
              p2 = (e^-h - 1) / -h - 1,   p3 = p2 / -h - 1 / 2

The first step predicts without m_u and is corrected with rho1 = 0, rho2 = 1 / 2; the last one predicts without m_u. The
correction costs no call of the network: the next step needs m_s anyway. The conventions are those of the diffusers
library, whose trajectory the tests reproduce.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.generative.samplers import Denoise, Noise, integrate
from dlcore.generative.schedules import SamplingGrid, to_acc_dtype

__all__ = ["unipc_sample"]


def unipc_sample(denoise: Denoise, x: jax.Array, noise: Noise, grid: SamplingGrid, **reading: Any) -> Any:
    """Draw by UniPC of second order.

    Args:
      x: [B, ...], standard normal start.
      grid: see `dlcore.generative.schedules.sampling_grid`.
      **reading: `prediction`, `clip_sample` and `return_trajectory` of `dlcore.generative.samplers.integrate`.

    Returns:
      As `integrate`.
    """
    num_steps = len(grid.timesteps)

    def step(x, m_s, eps, previous, k, alpha_cumprod_s, alpha_cumprod_next):
        x_t, m_t, m_u, alpha_cumprod_t, alpha_cumprod_u = previous
        # Correct the step that led here.
        h, gain, base = _step(x_t, m_t, alpha_cumprod_t, alpha_cumprod_s)
        r = _ratio(alpha_cumprod_u, alpha_cumprod_t, h)
        b1, b2 = _moments(h)
        rho1 = jnp.where(k > 1, (b2 - b1) / (r - 1), 0)
        rho2 = jnp.where(k > 1, b1 - rho1, 0.5)
        corrected = base + gain * (rho1 * (m_u - m_t) / r + rho2 * (m_s - m_t))
        x = jnp.where(k > 0, corrected, x)
        # Predict the next one.
        h, gain, base = _step(x, m_s, alpha_cumprod_s, alpha_cumprod_next)
        second = (k > 0) & (k < num_steps - 1)
        r = _ratio(alpha_cumprod_t, alpha_cumprod_s, h)
        after = base + jnp.where(second, gain / (2 * r), 0) * (m_t - m_s)
        return after, (x, m_s, m_t, alpha_cumprod_s, alpha_cumprod_t)

    start = to_acc_dtype(x)
    # Levels of a step before the first, which nothing is corrected by: any two that differ.
    levels = jnp.asarray(0.25, start.dtype), jnp.asarray(0.125, start.dtype)
    return integrate(step, denoise, x, (start, jnp.zeros_like(start), jnp.zeros_like(start), *levels), grid, **reading)


def _half_log_snr(alpha_cumprod: jax.Array) -> jax.Array:
    return 0.5 * (jnp.log(alpha_cumprod) - jnp.log1p(-alpha_cumprod))


def _step(x: jax.Array, m: jax.Array, alpha_cumprod_t: jax.Array, alpha_cumprod_s: jax.Array) -> tuple:
    """(h, sqrt(abar_s) (1 - e^-h), E) of a step from t to s; at the end, where h is infinite, E is m."""
    last = alpha_cumprod_s == 1
    h = _half_log_snr(jnp.where(last, alpha_cumprod_t, alpha_cumprod_s)) - _half_log_snr(alpha_cumprod_t)
    gain = jnp.sqrt(alpha_cumprod_s) * jnp.where(last, 1, -jnp.expm1(-h))
    return h, gain, jnp.sqrt((1 - alpha_cumprod_s) / (1 - alpha_cumprod_t)) * x + gain * m


def _ratio(alpha_cumprod_u: jax.Array, alpha_cumprod_t: jax.Array, h: jax.Array) -> jax.Array:
    """(lambda_u - lambda_t) / h; -1 where h is 0 or no number, in the steps that do not use it."""
    r = (_half_log_snr(alpha_cumprod_u) - _half_log_snr(alpha_cumprod_t)) / jnp.where(h > 0, h, 1)
    return jnp.where((h > 0) & (r < 0), r, -1)


def _moments(h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(b1, b2); by their series where h is small, as float32 would lose their digits."""
    y = -jnp.where(h > 0.2, h, 1)
    p2 = jnp.expm1(y) / y - 1
    p3 = p2 / y - 0.5
    z = -jnp.where(h > 0.2, 0, h)
    series2 = z * (1 / 2 + z * (1 / 6 + z * (1 / 24 + z * (1 / 120 + z / 720))))
    series3 = z * (1 / 6 + z * (1 / 24 + z * (1 / 120 + z * (1 / 720 + z / 5040))))
    is_large = h > 0.2
    growth = jnp.expm1(jnp.where(is_large, y, jnp.where(h > 0, z, -1)))
    return jnp.where(is_large, p2, series2) / growth, 2 * jnp.where(is_large, p3, series3) / growth
