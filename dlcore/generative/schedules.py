"""Noise schedules of diffusion models.

Ho, Jain & Abbeel 2020, arXiv:2006.11239 (linear); Nichol & Dhariwal 2021, arXiv:2102.09672 (cosine); Rombach et al.
2022, arXiv:2112.10752 (scaled linear).

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)
    q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I),    abar_t = prod_{s <= t} (1 - beta_s)

Steps count from 0 in code: alpha_bars[0] is the first step's 1 - beta, and the paper's abar_1000 is alpha_bars[999].
With another number of steps than 1000 the linear betas are scaled by 1000 / steps: the last step is still noise.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["SCHEDULES", "alpha_bars", "cosine_betas", "diffuse", "linear_betas", "scaled_linear_betas"]

LARGEST_BETA = 0.999


def linear_betas(steps: int, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """[steps] float64, evenly spaced from `first` to `last`, both times 1000 / steps."""
    scale = 1000 / _checked(steps)
    return np.minimum(np.linspace(scale * first, scale * last, steps), LARGEST_BETA)


def scaled_linear_betas(steps: int, first: float = 0.00085, last: float = 0.012) -> np.ndarray:
    """[steps] float64, evenly spaced in their square roots, all times 1000 / steps."""
    scale = 1000 / _checked(steps)
    return np.minimum(scale * np.linspace(first**0.5, last**0.5, steps) ** 2, LARGEST_BETA)


def cosine_betas(steps: int, offset: float = 0.008) -> np.ndarray:
    """[steps] float64 such that abar_t = f(t) / f(0), f(t) = cos^2(pi / 2 (t / steps + offset) / (1 + offset))."""
    t = np.arange(_checked(steps) + 1) / steps
    f = np.cos((t + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], LARGEST_BETA)


SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas, "scaled_linear": scaled_linear_betas}


def alpha_bars(betas: np.ndarray) -> np.ndarray:
    """abar: [steps] float64 of betas: [steps]."""
    return np.cumprod(1 - np.asarray(betas, np.float64))


def diffuse(x: Any, noise: Any, alpha_bar: Any) -> Any:
    """x_t of clean x and standard normal noise of its shape; alpha_bar: a scalar, abar_t."""
    return jnp.sqrt(alpha_bar) * x + jnp.sqrt(1 - alpha_bar) * noise


def _checked(steps: int) -> int:
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    return steps
