"""Noise schedules of diffusion models, and the grids of timesteps that samplers visit.

Ho, Jain & Abbeel 2020, arXiv:2006.11239 (linear); Nichol & Dhariwal 2021, arXiv:2102.09672 (cosine); Rombach et al.
2022, arXiv:2112.10752 (scaled linear).

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)
    q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I),    abar_t = prod_{s <= t} (1 - beta_s)

Timesteps count from 0 in code: alphas_cumprod[0] is 1 - beta of the first, and the paper's abar_1000 is
alphas_cumprod[999]. With another number of timesteps T than 1000, linear betas are scaled by 1000 / T, so that the last
timestep is still noise.

A sampler visits a falling grid of timesteps. Where it starts, where it ends and what follows the last step are named
options (Lin et al. 2023, arXiv:2305.08891, section 3.4), since a grid that starts below the last timestep takes noise
for an example that it is not. Karras et al. 2022, arXiv:2206.00364, space sigma = sqrt((1 - abar) / abar) instead:

    sigma_i = (sigma_max^(1/7) + i / (N - 1) (sigma_min^(1/7) - sigma_max^(1/7)))^7
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number, is_whole_number
from dlcore.ops.checks import check_finite, check_range, check_shapes, describe_array
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "SCHEDULES",
    "SamplingGrid",
    "add_noise",
    "alphas_cumprod",
    "check_floats",
    "cosine_betas",
    "karras_sigmas",
    "linear_betas",
    "rescale_zero_terminal_snr",
    "sampling_grid",
    "scaled_linear_betas",
    "signal_and_spread",
    "timesteps",
]

MAX_BETA = 0.999


def linear_betas(num_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> np.ndarray:
    """Space betas evenly, times 1000 / num_timesteps.

    Args:
      num_timesteps: T, at least 1.
      beta_start: beta at the first of 1000 timesteps, in [0, 1].
      beta_end: beta at the last of 1000 timesteps, in [0, 1].

    Returns:
      [T] float64.
    """
    scale = 1000 / _checked(num_timesteps)
    _check_betas(beta_start, beta_end)
    return np.minimum(np.linspace(scale * beta_start, scale * beta_end, num_timesteps), MAX_BETA)


def scaled_linear_betas(num_timesteps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> np.ndarray:
    """Space the square roots of betas evenly; the betas are then multiplied by 1000 / num_timesteps.

    Args:
      As `linear_betas`.

    Returns:
      [T] float64.
    """
    scale = 1000 / _checked(num_timesteps)
    _check_betas(beta_start, beta_end)
    return np.minimum(scale * np.linspace(beta_start**0.5, beta_end**0.5, num_timesteps) ** 2, MAX_BETA)


def cosine_betas(num_timesteps: int, offset: float = 0.008) -> np.ndarray:
    """Betas for which abar_t = f(t) / f(0), f(t) = cos^2(pi / 2 (t / T + offset) / (1 + offset)).

    Args:
      num_timesteps: T, at least 1.
      offset: s of the paper, at least 0, which keeps the first betas away from 0.

    Returns:
      [T] float64, at most 0.999.
    """
    check_shapes(offset=(offset, ">= 0"))
    t = np.arange(_checked(num_timesteps) + 1) / num_timesteps
    f = np.cos((t + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], MAX_BETA)


SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas, "scaled_linear": scaled_linear_betas}


def rescale_zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """Shift and scale sqrt(abar) so that the last timestep is noise alone, and the first keeps its value.

    Lin et al. 2023, arXiv:2305.08891, algorithm 1; `rescale_betas_zero_snr` of diffusers. A network that predicts the
    noise learns nothing of an example there: train it to predict v or the example.

    Args:
      betas: [T], T at least 2.

    Returns:
      [T] float64, the last one 1.
    """
    if len(betas) < 2:
        raise ValueError(f"betas={list(betas)}: too few; allowed: at least 2")
    root = np.sqrt(alphas_cumprod(betas))
    # Shift the last to zero, and keep the first.
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_cumprod = root**2
    return 1 - np.append(alpha_cumprod[:1], alpha_cumprod[1:] / alpha_cumprod[:-1])


def alphas_cumprod(betas: np.ndarray) -> np.ndarray:
    """Multiply up 1 - beta.

    Args:
      betas: [T], in [0, 1].

    Returns:
      abar, [T] float64.
    """
    check_shapes(betas=(betas, "T"))
    check_range("betas", betas, 0, 1)
    return np.cumprod(1 - np.asarray(betas, np.float64))


def check_floats(name: str, x: Any) -> None:
    """Check that numbers have a place for noise.

    Args:
      name: name of the argument, for the message.
      x: [...], numbers.
    """
    if x is None or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        what = x if x is None else describe_array(x)
        raise ValueError(f"{name}={what}: no place for noise; allowed: floats, such as pixels in [-1, 1]")


def signal_and_spread(name: str, alpha_cumprod: Any) -> tuple[jax.Array, jax.Array]:
    """Compute the factors of x_t = signal x_0 + spread eps.

    Args:
      name: name of the argument, for the message.
      alpha_cumprod: [...], abar_t; at least float32.

    Returns:
      (sqrt(abar_t), sqrt(1 - abar_t)), both [...], at least float32.
    """
    dtype = getattr(alpha_cumprod, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
        raise ValueError(f"{name}={dtype}: cannot hold 1 - abar; allowed: float32, float64")
    check_range(name, alpha_cumprod, 0, 1)
    alpha_cumprod = to_acc_dtype(alpha_cumprod)
    return jnp.sqrt(alpha_cumprod), jnp.sqrt(1 - alpha_cumprod)


def add_noise(x: Any, noise: Any, alpha_cumprod: Any) -> Any:
    """Diffuse a clean example to the timestep of `alpha_cumprod`.

    Args:
      x: [...], x_0.
      noise: [...], standard normal.
      alpha_cumprod: [], abar_t; at least float32.

    Returns:
      x_t, [...], computed in float32 and cast to the dtype of x.
    """
    check_floats("x", x)
    check_floats("noise", noise)
    check_shapes(x=(x, "..."), noise=(noise, "..."))
    signal, spread = signal_and_spread("alpha_cumprod", alpha_cumprod)
    return (signal * to_acc_dtype(x) + spread * to_acc_dtype(noise)).astype(jnp.asarray(x).dtype)


class SamplingGrid(NamedTuple):
    """The steps of a sampler.

    Args:
      timesteps: [N], falling, as the network is given them; fractions between two timesteps are allowed.
      alphas_cumprod: [N + 1] float64: abar at each timestep, and where the last step ends.
      train_alphas_cumprod: [T], abar of all timesteps of training, for samplers that go between the steps; None for
        the others.
    """

    timesteps: np.ndarray
    alphas_cumprod: np.ndarray
    train_alphas_cumprod: np.ndarray | None = None


def timesteps(
    num_timesteps: int,
    num_inference_steps: int,
    spacing: Literal["leading", "trailing", "linspace"] = "leading",
    offset: int = 0,
) -> np.ndarray:
    """Choose the timesteps that a sampler visits.

        leading    k floor(T / N) + offset            ends at the offset, starts below T - 1
        trailing   round(T - k T / N) - 1             starts at T - 1, ends above 0
        linspace   round((T - 1) (1 - k / (N - 1)))   from T - 1 to 0; one step is at T - 1

    Args:
      num_timesteps: T, of training.
      num_inference_steps: N, from 1 to T.
      spacing: see above.
      offset: leading: of every timestep.

    Returns:
      [N] int32, falling, without duplicates.
    """
    check_choice("spacing", spacing, ("leading", "trailing", "linspace"))
    count, last = num_inference_steps, _checked(num_timesteps) - 1
    if not is_whole_number(count) or not 1 <= count <= num_timesteps:
        raise ValueError(f"num_inference_steps={count}: out of range; allowed: whole numbers, 1 to {num_timesteps}")
    # leading: steps of T // N from 0 on; trailing: from T - 1 down; else evenly between the ends.
    if spacing == "leading":
        largest = last - (count - 1) * (num_timesteps // count)
        if not is_whole_number(offset) or not 0 <= offset <= largest:
            raise ValueError(
                f"offset={offset}: leaves the timesteps; allowed: whole numbers, 0 to {largest} for {count} steps"
            )
        grid = np.arange(count)[::-1] * (num_timesteps // count) + offset
    elif spacing == "trailing":
        grid = np.round(num_timesteps - np.arange(count) * num_timesteps / count) - 1
    else:
        grid = np.round(np.linspace(last, 0, count))
    return grid.astype(np.int32)


def sampling_grid(
    alphas_cumprod: np.ndarray,
    timesteps: np.ndarray,
    *,
    final_alpha: Literal["one", "first"] = "one",
    sigmas: Literal["training", "karras"] = "training",
) -> SamplingGrid:
    """Find abar of a sampler's timesteps.

    Args:
      alphas_cumprod: [T], of training, in [0, 1].
      timesteps: [N], falling, in [0, T - 1]; between two timesteps sigma is interpolated.
      final_alpha: abar where the last step ends: one, the clean example, or that of the first timestep, for networks
        that never saw less noise.
      sigmas: training keeps the timesteps; karras spaces sigma between the first and the last of them, and finds the
        timesteps of these sigmas (between two, by log sigma).
    """
    check_choice("final_alpha", final_alpha, ("one", "first"))
    check_choice("sigmas", sigmas, ("training", "karras"))
    check_shapes(alphas_cumprod=(alphas_cumprod, "T"))
    check_range("alphas_cumprod", alphas_cumprod, 0, 1)
    check_range("timesteps", timesteps, 0, len(alphas_cumprod) - 1)
    if np.ndim(timesteps) != 1 or len(timesteps) < 1 or not (np.diff(timesteps) < 0).all():
        raise ValueError(f"timesteps={np.asarray(timesteps).tolist()}: do not fall; allowed: at least one, falling")
    alpha_cumprod = np.asarray(alphas_cumprod, np.float64)
    train_timesteps = np.arange(len(alpha_cumprod))
    # Noise level sigma of every training timestep.
    with np.errstate(divide="ignore"):
        sigma = np.sqrt((1 - alpha_cumprod) / alpha_cumprod)
    values = np.interp(timesteps, train_timesteps, sigma)
    if sigmas == "karras" and not np.isfinite(values).all():
        raise ValueError(
            f"sigmas='karras': timestep {timesteps[0]} is noise alone, of an infinite sigma; allowed: 'training', or "
            "spacing='leading'"
        )
    if sigmas == "karras":
        values = _evenly_in_root(values[0], values[-1], len(values))
        timesteps = np.interp(np.log(values), np.log(sigma), train_timesteps).astype(np.float32)
    final = 1.0 if final_alpha == "one" else alpha_cumprod[0]
    return SamplingGrid(np.asarray(timesteps), np.append(1 / (1 + values**2), final), alpha_cumprod)


def karras_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> np.ndarray:
    """Space noise levels evenly in sigma^(1 / rho).

    Args:
      steps: N, number of levels.
      sigma_min: the last level.
      sigma_max: the first level.
      rho: more spaces small levels closer.

    Returns:
      [N] float64, falling from sigma_max to sigma_min.
    """
    check_shapes(steps=(steps, "int >= 1"), rho=(rho, "> 0"))
    check_finite("sigma_max", sigma_max)
    check_finite("sigma_min", sigma_min)
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"sigma_min={sigma_min}: out of range; allowed: above 0, below sigma_max={sigma_max}")
    return _evenly_in_root(sigma_max, sigma_min, steps, rho)


def _evenly_in_root(first: float, last: float, count: int, rho: float = 7.0) -> np.ndarray:
    first, last = first ** (1 / rho), last ** (1 / rho)
    return (first + np.linspace(0, 1, count) * (last - first)) ** rho


def _checked(num_timesteps: int) -> int:
    check_whole_number("num_timesteps", num_timesteps, 1)
    return num_timesteps


def _check_betas(beta_start: float, beta_end: float) -> None:
    check_shapes(beta_start=(beta_start, "0 to 1"), beta_end=(beta_end, "0 to 1"))
    check_finite("beta_start", beta_start)
    check_finite("beta_end", beta_end)
    if beta_start > beta_end:
        raise ValueError(f"beta_start={beta_start:g}: above beta_end; allowed: at most beta_end={beta_end:g}")
