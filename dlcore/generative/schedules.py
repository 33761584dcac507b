"""Noise schedules of diffusion models.

Ho, Jain & Abbeel 2020, arXiv:2006.11239 (linear); Nichol & Dhariwal 2021, arXiv:2102.09672 (cosine); Rombach et al.
2022, arXiv:2112.10752 (scaled linear).

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)
    q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I),    abar_t = prod_{s <= t} (1 - beta_s)

Timesteps count from 0 in code: alphas_cumprod[0] is 1 - beta of the first, and the paper's abar_1000 is
alphas_cumprod[999]. With another number of timesteps T than 1000, linear betas are scaled by 1000 / T, so that the last
timestep is still noise.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["SCHEDULES", "add_noise", "alphas_cumprod", "cosine_betas", "linear_betas", "scaled_linear_betas"]

MAX_BETA = 0.999


def linear_betas(num_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> np.ndarray:
    """Space betas evenly, times 1000 / num_timesteps.

    Args:
      num_timesteps: T, at least 1.
      beta_start: of the first of 1000 timesteps.
      beta_end: of the last of 1000 timesteps.

    Returns:
      [T] float64.
    """
    scale = 1000 / _checked(num_timesteps)
    return np.minimum(np.linspace(scale * beta_start, scale * beta_end, num_timesteps), MAX_BETA)


def scaled_linear_betas(num_timesteps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> np.ndarray:
    """Space the square roots of betas evenly; the betas are then multiplied by 1000 / num_timesteps.

    Args:
      num_timesteps: T, at least 1.
      beta_start: of the first of 1000 timesteps.
      beta_end: of the last of 1000 timesteps.

    Returns:
      [T] float64.
    """
    scale = 1000 / _checked(num_timesteps)
    return np.minimum(scale * np.linspace(beta_start**0.5, beta_end**0.5, num_timesteps) ** 2, MAX_BETA)


def cosine_betas(num_timesteps: int, offset: float = 0.008) -> np.ndarray:
    """Betas for which abar_t = f(t) / f(0), f(t) = cos^2(pi / 2 (t / T + offset) / (1 + offset)).

    Args:
      num_timesteps: T, at least 1.
      offset: s of the paper, which keeps the first betas away from 0.

    Returns:
      [T] float64, at most 0.999.
    """
    t = np.arange(_checked(num_timesteps) + 1) / num_timesteps
    f = np.cos((t + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], MAX_BETA)


SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas, "scaled_linear": scaled_linear_betas}


def alphas_cumprod(betas: np.ndarray) -> np.ndarray:
    """Multiply up 1 - beta.

    Args:
      betas: [T].

    Returns:
      abar, [T] float64.
    """
    return np.cumprod(1 - np.asarray(betas, np.float64))


def add_noise(x: Any, noise: Any, alpha_cumprod: Any) -> Any:
    """Diffuse a clean example to the timestep of `alpha_cumprod`.

    Args:
      x: [...], x_0.
      noise: [...], standard normal.
      alpha_cumprod: [], abar_t.

    Returns:
      x_t, [...].
    """
    return jnp.sqrt(alpha_cumprod) * x + jnp.sqrt(1 - alpha_cumprod) * noise


def _checked(num_timesteps: int) -> int:
    if num_timesteps < 1:
        raise ValueError(f"num_timesteps={num_timesteps}: too few; allowed: at least 1")
    return num_timesteps
