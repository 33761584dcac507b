"""The engine of diffusion techniques: noise schedules and samplers by name.

Ho, Jain & Abbeel 2020, arXiv:2006.11239; interpolation is Song, Meng & Ermon 2020, arXiv:2010.02502, section 5.3.

`dlcore.generative.ddpm` trains a network by these; `dlcore.generative.schedules` and `dlcore.generative.samplers` have
the equations.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.generative.condition import Condition, check_guidance
from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.guidance import guide_interval
from dlcore.generative.latents import slerp
from dlcore.generative.pixels import check_shape
from dlcore.generative.samplers import Denoise, Noise, Prediction, ddim_sample, ddpm_sample, euler_sample, integrate
from dlcore.generative.schedules import SCHEDULES, alphas_cumprod, rescale_zero_terminal_snr, sampling_grid, timesteps
from dlcore.generative.tcd import tcd_sample
from dlcore.generative.unipc import unipc_sample
from dlcore.learner import Range
from dlcore.ops.checks import check_shapes

__all__ = ["SAMPLERS", "NoiseSchedule", "Sampling", "check_sampling", "denoiser", "interpolate", "noise_of", "sample"]

SAMPLERS = {
    "ddpm": ddpm_sample,
    "ddim": ddim_sample,
    "dpmpp": dpmpp_sample,
    "sde_dpmpp": functools.partial(dpmpp_sample, stochastic=True),
    "euler": euler_sample,
    "unipc": unipc_sample,
    "tcd": tcd_sample,
}
Sampler = Literal["ddpm", "ddim", "dpmpp", "sde_dpmpp", "euler", "unipc", "tcd"]


class NoiseSchedule(NamedTuple):
    """How noise rises from data to noise alone.

    Args:
      num_timesteps: timesteps between data and noise in training.
      beta_schedule: how the variance of the noise rises over the timesteps.
      zero_terminal_snr: rescale the schedule so that the last timestep is noise alone (Lin et al. 2023); best sampled
        with spacing=trailing, which starts there.
    """

    num_timesteps: Annotated[int, Range(2)] = 1000
    beta_schedule: Literal["linear", "cosine", "scaled_linear"] = "linear"
    zero_terminal_snr: bool = False

    def alphas_cumprod(self) -> np.ndarray:
        """Compute abar of each timestep: [T]."""
        check_choice("beta_schedule", self.beta_schedule, ("linear", "cosine", "scaled_linear"))
        betas = SCHEDULES[self.beta_schedule](self.num_timesteps)
        return alphas_cumprod(rescale_zero_terminal_snr(betas) if self.zero_terminal_snr else betas)


class Sampling(NamedTuple):
    """How examples are drawn.

    Args:
      sampler: ddpm (ancestral), ddim, dpmpp (DPM-Solver++), sde_dpmpp (its stochastic form), euler, unipc or tcd.
      num_inference_steps: steps of the sampler, at most num_timesteps.
      spacing: spacing of the sampler's timesteps: leading, trailing or linspace.
      final_alpha: abar where sampling ends: one, or that of the first timestep.
      sigmas: sigmas of the sampler: those of training's timesteps, or spaced after Karras between them.
      eta: ddim and tcd: noise drawn in each step; 0 follows a deterministic path, 1 of ddim has the ancestral variance.
      clip_sample: clip the predicted clean example to [-1, 1] while sampling.
      guidance: strength w of the condition in samples: 0 without, 1 as trained, more at the price of variety.
      guidance_interval: shares of the timesteps, 0 at data and 1 at noise, between which samples are guided.
      guidance_rescale: how far guided outputs get the deviation of the conditional ones: 0 not, 1 wholly.
    """

    sampler: Sampler = "ddpm"
    num_inference_steps: Annotated[int, Range(1)] = 1000
    spacing: Literal["leading", "trailing", "linspace"] = "leading"
    final_alpha: Literal["one", "first"] = "one"
    sigmas: Literal["training", "karras"] = "training"
    eta: Annotated[float, Range(0, 1)] = 0.0
    clip_sample: bool = True
    guidance: Annotated[float, Range(0)] = 1.0
    guidance_interval: Annotated[tuple[float, float], Range(0, 1), "if changed"] = (0.0, 1.0)
    guidance_rescale: Annotated[float, Range(0, 1), "if changed"] = 0.0

    def options(self) -> dict[str, Any]:
        """Select what `sample` takes: keyword arguments."""
        check_choice("sampler", self.sampler, Sampler)
        check_choice("spacing", self.spacing, ("leading", "trailing", "linspace"))
        check_choice("final_alpha", self.final_alpha, ("one", "first"))
        check_choice("sigmas", self.sigmas, ("training", "karras"))
        options = self._asdict()
        for name in ("guidance", "guidance_interval", "guidance_rescale"):
            del options[name]
        if self.sampler not in ("ddim", "tcd"):
            del options["eta"]
        return options


def denoiser(
    network: Callable[..., jax.Array],
    condition: Condition | None,
    cond: tuple,
    guidance: float | jax.Array,
    *,
    interval: tuple[float, float] = (0.0, np.inf),
    rescale: float = 0.0,
) -> Denoise:
    """Give a network its condition, and guide it where that is not as it was trained.

    Args:
      network: (x [B, ...], t [], *cond) -> prediction [B, ...].
      cond: condition, as `read` returns it.
      guidance: strength w of the condition; 1 is as it was trained.
      interval: (first, last) t where samples are guided.
      rescale: how far guided outputs get the deviation of the conditional ones, from 0 to 1.
    """
    if guidance != 1:
        check_guidance(guidance, condition is not None)
        # Classifier-free guidance.
        return guide_interval(network, *cond, condition.null(*cond), guidance, interval=interval, rescale=rescale)
    return lambda x, t: network(x, t, *cond)


def check_sampling(noise_schedule: NoiseSchedule, sampling: Sampling, prediction: str, conditional: bool) -> None:
    """Refuse samplers that would draw noise, or nothing.

    Args:
      prediction: what the network predicts.
      conditional: whether it has a condition.
    """
    check_choice("prediction", prediction, Prediction)
    steps, num_timesteps = sampling.num_inference_steps, noise_schedule.num_timesteps
    if steps > num_timesteps:
        raise ValueError(f"num_inference_steps={steps}: too many; allowed: at most {num_timesteps=}")
    check_guidance(sampling.guidance, conditional)
    low, high = sampling.guidance_interval
    if not low < high:
        raise ValueError(f"guidance_interval={low},{high}: empty; allowed: low,high, low below high")
    if noise_schedule.zero_terminal_snr and prediction == "epsilon":
        raise ValueError(
            "prediction=epsilon: where noise is all there is, it tells nothing of the example, with "
            "zero_terminal_snr=True; allowed: v, sample"
        )
    sampling_timesteps = timesteps(num_timesteps, steps, sampling.spacing)
    grid = sampling_grid(noise_schedule.alphas_cumprod(), sampling_timesteps, sigmas=sampling.sigmas)
    start = grid.alphas_cumprod[0]
    if noise_schedule.zero_terminal_snr and sampling.sigmas == "training" and start > 0:
        raise ValueError(
            f"spacing={sampling.spacing}: sampling starts at timestep {sampling_timesteps[0]}, where abar={start:.2g} "
            "of signal is left, with zero_terminal_snr=True; allowed: trailing, linspace"
        )
    if prediction == "epsilon" and not sampling.clip_sample:
        growth = np.sqrt(grid.alphas_cumprod[1] / grid.alphas_cumprod[0])
        if growth > 100:
            raise ValueError(
                f"spacing={sampling.spacing} with beta_schedule={noise_schedule.beta_schedule}, prediction=epsilon and "
                f"clip_sample=False: the first of {steps} steps multiplies the error of the predicted noise by "
                f"{growth:.0f}; allowed: prediction=v, clip_sample=True, spacing=leading, or another schedule"
            )


def sample(
    denoise: Denoise,
    keys: jax.Array,
    shape: tuple[int, ...],
    alphas_cumprod: np.ndarray,
    *,
    shares: jax.Array | None = None,
    sampler: Sampler = "ddim",
    num_inference_steps: int = 50,
    spacing: Literal["leading", "trailing", "linspace"] = "leading",
    final_alpha: Literal["one", "first"] = "one",
    sigmas: Literal["training", "karras"] = "training",
    **options: Any,
) -> Any:
    """Draw one example for each key, from that key alone, or one between each two keys.

    Between two keys all noise, of the start and of each step, lies on the arc between theirs: on an arc noise keeps its
    length, which on a straight line it would lose (DDIM, section 5.3).

    Args:
      denoise: (x [B, *shape], timestep []) -> predicted noise [B, *shape].
      keys: [B], or [B, 2] with `shares`.
      shape: shape of an example.
      alphas_cumprod: [T].
      shares: [B] in [0, 1]; 0 gives the example of the first of two keys and 1 that of the second.
      sampler: a name of SAMPLERS.
      num_inference_steps: number of sampling steps, at most T.
      spacing: see `dlcore.generative.schedules.timesteps`.
      final_alpha: see `dlcore.generative.schedules.sampling_grid`.
      sigmas: see `dlcore.generative.schedules.sampling_grid`.
      **options: options of the sampler.

    Returns:
      [B, *shape]; with `return_trajectory=True` (samples, [num_inference_steps + 1, B, *shape]).
    """
    check_choice("sampler", sampler, Sampler)
    parameters = [p for f in (SAMPLERS[sampler], integrate) for p in inspect.signature(f).parameters.values()]
    allowed = [parameter.name for parameter in parameters if parameter.kind == parameter.KEYWORD_ONLY]
    if unknown := sorted(options.keys() - {*allowed}):
        raise ValueError(
            f"{unknown[0]}={options[unknown[0]]}: no option of sampler={sampler}; allowed: {', '.join(allowed)}"
        )
    if np.ndim(shape) == 1 and min(shape, default=1) < 1:
        raise ValueError(f"shape={tuple(shape)}: holds nothing; allowed: sides of at least 1")
    check_shape(shape)
    check_shapes(shares=(shares, "... 0 to 1 or None"))
    sampling_timesteps = timesteps(len(alphas_cumprod), num_inference_steps, spacing)
    grid = sampling_grid(alphas_cumprod, sampling_timesteps, final_alpha=final_alpha, sigmas=sigmas)
    noise = noise_of(keys, shape, shares)
    return SAMPLERS[sampler](denoise, noise(-1), noise, grid, **options)


def interpolate(denoise: Denoise, keys: jax.Array, shares: jax.Array, *args: Any, **options: Any) -> Any:
    """Draw the examples between those of two keys, see `sample`.

    Args:
      denoise: (x [B, *shape], timestep []) -> predicted noise [B, *shape].
      keys: [2].
      shares: [B] in [0, 1]; 0 gives `sample` of the first key and 1 that of the second.
      *args: arguments of `sample`, from `shape` on.
      **options: arguments of `sample`.

    Returns:
      As `sample`.
    """
    check_shapes(keys=(keys, "2"), shares=(shares, "B"))
    fractions = jnp.asarray(shares)
    return sample(denoise, jnp.broadcast_to(keys, (len(fractions), 2)), *args, shares=fractions, **options)


def noise_of(keys: jax.Array, shape: tuple[int, ...], fractions: jax.Array | None = None) -> Noise:
    """Build the noise of each example from its key alone.

    Args:
      keys: [B], or [B, 2] with `fractions`.
      shape: shape of an example.
      fractions: [B] in [0, 1], where on the arc between the noise of two keys; None for one key.

    Returns:
      Step k, from -1 (the start) on -> [B, *shape], standard normal.
    """
    if fractions is not None:
        check_shapes(keys=(keys, "B 2"), fractions=(fractions, "B or None"))
        start_noise, end_noise = noise_of(keys[:, 0], shape), noise_of(keys[:, 1], shape)
        return lambda k: jax.vmap(slerp)(start_noise(k), end_noise(k), fractions)
    check_shapes(keys=(keys, "B"))
    return lambda k: jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, k + 1), shape))(keys)
