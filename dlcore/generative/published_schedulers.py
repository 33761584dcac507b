"""Schedulers of published pipelines: what each key of scheduler_config.json says of the steps of a sampler.

    abar_t = prod (1 - beta),   sigma = sqrt((1 - abar) / abar)
    karras       sigma^(1/7) evenly       exponential  log sigma evenly       beta  by the quantiles of Beta(0.6, 0.6)
    flow         t' = s t / (1 + (s - 1) t);   dynamic: s = e^mu ("exponential") or mu ("linear"), mu linear in the
                 number of tokens;   terminal: 1 - t is stretched so that the last time is the terminal

A class reads its own keys alone, and files keep those of the classes that they were converted from: SDXL's Euler has
DDIM's `set_alpha_to_one`, which it does not read. `CLASSES` has the keys of each class with their defaults, `ONLY` the
values that dlcore has, `UNREAD` why others change nothing. The conventions are those of the diffusers library, whose
levels and results the tests reproduce.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.flow_matching import solve_flow
from dlcore.generative.lcm import lcm_sample, lcm_timesteps
from dlcore.generative.plms import plms_sample
from dlcore.generative.samplers import Denoise, Noise, integrate
from dlcore.generative.schedules import (
    SamplingGrid,
    alphas_cumprod,
    cosine_betas,
    karras_sigmas,
    rescale_zero_terminal_snr,
    timesteps,
)
from dlcore.generative.unipc import unipc_sample

__all__ = ["CLASSES", "ONLY", "UNREAD", "diffusion_grid", "diffusion_solver", "flow_solver", "flow_times_of"]

BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "steps_offset": 0,
}
SPACED = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "sigma_min": None,
    "sigma_max": None,
}
LEADING, LINSPACE = BETAS | {"timestep_spacing": "leading"}, BETAS | {"timestep_spacing": "linspace"}
ZERO_SNR, CLIPPED = {"rescale_betas_zero_snr": False}, {"clip_sample": True, "clip_sample_range": 1.0}
THRESHOLD = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
MULTISTEP = LINSPACE | SPACED | ZERO_SNR | THRESHOLD | {
    "solver_order": 2,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}  # fmt: skip
FLOW = SPACED | {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "invert_sigmas": False,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "stochastic_sampling": False,
    "use_flow_sigmas": False,
}
CLASSES = {
    "DDIMScheduler": LEADING | ZERO_SNR | CLIPPED | THRESHOLD | {"set_alpha_to_one": True},
    "DDPMScheduler": LEADING | ZERO_SNR | CLIPPED | THRESHOLD | {"variance_type": "fixed_small"},
    "PNDMScheduler": LEADING | {"set_alpha_to_one": False, "skip_prk_steps": False},
    "EulerDiscreteScheduler": LINSPACE | SPACED | ZERO_SNR
    | {"interpolation_type": "linear", "timestep_type": "discrete", "final_sigmas_type": "zero"},
    "EulerAncestralDiscreteScheduler": LINSPACE | ZERO_SNR,
    "HeunDiscreteScheduler": LINSPACE | SPACED | CLIPPED
    | {"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False},
    "LMSDiscreteScheduler": LINSPACE | SPACED,
    "DPMSolverMultistepScheduler": MULTISTEP | {
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "euler_at_final": False,
        "use_lu_lambdas": False,
        "lambda_min_clipped": -np.inf,
        "variance_type": None,
    },
    "UniPCMultistepScheduler": MULTISTEP | {
        "solver_type": "bh2",
        "predict_x0": True,
        "disable_corrector": [],
        "solver_p": None,
        "shift_terminal": None,
    },
    "LCMScheduler": BETAS | ZERO_SNR | CLIPPED | THRESHOLD
    | {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    | {"original_inference_steps": 50, "timestep_scaling": 10.0},
    "FlowMatchEulerDiscreteScheduler": FLOW,
}  # fmt: skip
"""Keys of each class and their defaults."""
ONLY = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "interpolation_type": ("linear", "log_linear"),
    "timestep_type": ("discrete", "continuous"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "time_shift_type": ("exponential", "linear"),
    "thresholding": (False,),
    "algorithm_type": ("dpmsolver++", "deis"),
    "solver_order": (1, 2),
    "predict_x0": (True,),
    "disable_corrector": ([],),
    "solver_p": (None,),
    "use_lu_lambdas": (False,),
    "invert_sigmas": (False,),
    "stochastic_sampling": (False,),
    "timestep_scaling": (10.0,),
}
"""Values of keys that dlcore has, whatever the class; all of the others are read as numbers."""
DIFFUSION_ONLY = {"use_flow_sigmas": (False,), "use_dynamic_shifting": (False,), "shift_terminal": (None,)}
SOLVERS = {
    "LCMScheduler": {"clip_sample_range": (1.0,)},
    "PNDMScheduler": {
        "skip_prk_steps": (True,),
        "timestep_spacing": ("leading",),
        "prediction_type": ("epsilon", "v_prediction"),
    },
    # diffusers takes "midpoint" and "bh2" for the names of each other's
    "DPMSolverMultistepScheduler": {"solver_type": ("midpoint", "logrho", "bh1", "bh2")},
    "UniPCMultistepScheduler": {"solver_type": ("bh2", "midpoint", "heun", "logrho")},
}
UNREAD = {
    "variance_type": "of the noise of each step; DDIM's have none, and a predicted variance is cut off",
    "dynamic_thresholding_ratio": "of thresholding, which is refused",
    "sample_max_value": "of thresholding, which is refused",
    "flow_shift": "of use_flow_sigmas, which is refused",
    "use_flow_sigmas": "of Flux, whose own times it replaces by the scheduler's; those of diffusion are refused",
    "time_shift_type": "of use_dynamic_shifting",
    "base_shift": "of use_dynamic_shifting",
    "max_shift": "of use_dynamic_shifting",
    "base_image_seq_len": "of use_dynamic_shifting",
    "max_image_seq_len": "of use_dynamic_shifting",
    "shift": "not of use_dynamic_shifting",
    "clip_sample_range": "of clip_sample",
    "sigma_min": "of karras, exponential and beta sigmas",
    "sigma_max": "of karras, exponential and beta sigmas",
    "beta_start": "not of squaredcos_cap_v2 and trained_betas",
    "beta_end": "not of squaredcos_cap_v2 and trained_betas",
    "beta_schedule": "not of trained_betas",
    "steps_offset": "of leading timesteps",
    "timestep_spacing": "not of the multistep solvers' karras, exponential and beta sigmas",
    "timestep_type": "of v_prediction",
    "euler_at_final": "the last step to no noise is Euler's anyway; other ends are refused",
    "lower_order_final": "the last step to no noise is Euler's anyway; other ends are refused",
}
"""Keys that change nothing by themselves, with the reason."""
ALL_KEYS = {key for keys in CLASSES.values() for key in keys}
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}


def _read(config: Mapping[str, Any], default: str, is_flow: bool) -> tuple[str, dict[str, Any]]:
    """(class, the value of each of its keys)."""
    name = config.get("_class_name", default)
    kinds = [kind for kind in CLASSES if (kind == "FlowMatchEulerDiscreteScheduler") == is_flow]
    if name not in kinds:
        raise ValueError(f"scheduler={name!r}: not in dlcore; allowed: {', '.join(kinds)}")
    if unknown := [key for key in config if key not in ALL_KEYS and not key.startswith("_")]:
        raise ValueError(
            f"{unknown[0]}={config[unknown[0]]!r}: no key of a {name}; allowed: {', '.join(CLASSES[name])}"
        )
    values = {key: config.get(key, value) for key, value in CLASSES[name].items()}
    for key, allowed in (ONLY | ({} if is_flow else DIFFUSION_ONLY) | SOLVERS.get(name, {})).items():
        value = values.get(key, allowed[0])
        if value not in allowed and not (value is None and False in allowed):
            raise ValueError(f"{key}={value!r}: not in dlcore's {name}; allowed: {', '.join(map(repr, allowed))}")
    return name, values


def _betas(c: Mapping[str, Any]) -> np.ndarray:
    count, kind = c["num_train_timesteps"], c["beta_schedule"]
    check_whole_number("num_train_timesteps", count, 1)
    if c["trained_betas"] is not None:
        betas = np.asarray(c["trained_betas"], np.float64)
        if betas.shape != (count,):
            raise ValueError(f"trained_betas: {list(betas.shape)}; allowed: [{count}], num_train_timesteps")
        return betas
    if kind == "squaredcos_cap_v2":
        return cosine_betas(count)
    power = 2 if kind == "scaled_linear" else 1
    return np.linspace(c["beta_start"] ** (1 / power), c["beta_end"] ** (1 / power), count) ** power


def _respaced(c: Mapping[str, Any], first: float, last: float, steps: int) -> np.ndarray | None:
    """Sigmas of karras, exponential or beta, from the first to the last; None where the file asks for none of them."""
    kinds = [kind for kind in ("karras", "exponential", "beta") if c.get(f"use_{kind}_sigmas")]
    if not kinds:
        return None
    if len(kinds) > 1:
        raise ValueError(f"use_{kinds[0]}_sigmas, use_{kinds[1]}_sigmas: two spacings; allowed: one of them")
    first = first if c.get("sigma_max") is None else c["sigma_max"]
    last = last if c.get("sigma_min") is None else c["sigma_min"]
    from scipy.stats import beta

    even = np.linspace(0, 1, steps)
    if kinds[0] == "karras":
        return karras_sigmas(steps, last, first) if last < first else np.full(steps, first)
    if kinds[0] == "exponential":
        return np.exp(np.log(first) + even * (np.log(last) - np.log(first)))
    return last + beta.ppf(1 - even, 0.6, 0.6) * (first - last)


def diffusion_grid(config: Mapping[str, Any], steps: int) -> SamplingGrid:
    """Find the timesteps and the levels of noise of a diffusion's scheduler.

    Args:
      config: content of scheduler_config.json; without a class it is DDIM's.
      steps: steps of the sampler.

    Returns:
      The grid.

    Raises:
      ValueError: dlcore lacks the class, or a key has a value that it lacks.
    """
    name, c = _read(config, "DDIMScheduler", False)
    count, spacing, betas = c["num_train_timesteps"], c.get("timestep_spacing"), _betas(c)
    betas = rescale_zero_terminal_snr(betas) if c.get("rescale_betas_zero_snr") else betas
    alpha_cumprod, is_multistep = alphas_cumprod(betas), "solver_order" in c
    if c.get("rescale_betas_zero_snr") and name not in ("DDIMScheduler", "DDPMScheduler"):
        alpha_cumprod[-1] = 2**-24  # sigma stays finite
    if name == "LCMScheduler":
        times = lcm_timesteps(count, steps, c["original_inference_steps"])
        return SamplingGrid(times, np.append(alpha_cumprod[times], 1.0), alpha_cumprod)
    with np.errstate(divide="ignore"):
        train_sigmas = np.sqrt((1 - alpha_cumprod) / alpha_cumprod)
    if is_multistep:
        # From the noisiest timestep that is not clipped; of one more, the last is left out.
        last_count = count - int(np.searchsorted(-np.log(train_sigmas)[::-1], c.get("lambda_min_clipped", -np.inf)))
        times = {
            "linspace": np.round(np.linspace(0, last_count - 1, steps + 1))[:0:-1],
            "leading": np.arange(steps, 0, -1) * (last_count // (steps + 1)) + c["steps_offset"],
            "trailing": np.round(np.arange(last_count, 1e-6, -count / steps)) - 1,
        }[spacing]
    elif spacing == "linspace" and not _is_exact(name):
        times = np.linspace(0, count - 1, steps)[::-1]
    else:
        times = timesteps(count, steps, spacing, c["steps_offset"] if spacing == "leading" else 0)
    sigmas = np.interp(times, np.arange(count), train_sigmas)
    endpoints = (train_sigmas[-1], train_sigmas[0]) if is_multistep else (sigmas[0], sigmas[-1])
    log_linear = c.get("interpolation_type") == "log_linear"
    if log_linear:  # its last level is the first timestep's
        endpoints = train_sigmas[-1], train_sigmas[0]
        sigmas = np.exp(np.linspace(*np.log(endpoints), steps + 1))
    spaced = _respaced(c, *endpoints, steps)
    if spaced is not None:
        sigmas = spaced
        times = np.interp(np.log(sigmas), np.log(train_sigmas), np.arange(count))
        if is_multistep:
            rounds = c["use_karras_sigmas"] and (name.startswith("UniPC") or c["beta_schedule"] != "squaredcos_cap_v2")
            times = np.trunc(np.round(times) if rounds else times + 1e-9)
    if c.get("timestep_type") == "continuous" and c["prediction_type"] == "v_prediction":
        times = np.log(sigmas[:steps]) / 4
    first = c.get("final_sigmas_type") == "sigma_min" or c.get("set_alpha_to_one") is False
    levels = 1 / (1 + sigmas**2)
    if not log_linear or spaced is not None:
        levels = np.append(levels, alpha_cumprod[0] if first else 1.0)
    return SamplingGrid(np.asarray(times, np.float32), levels, alpha_cumprod)


def _is_exact(name: str) -> bool:
    """Whether its timesteps are whole numbers, and its examples have the variance of the data at all levels."""
    return name in ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler")


def diffusion_solver(
    config: Mapping[str, Any], steps: int, noise: Noise | None = None
) -> Callable[[Denoise, jax.Array], jax.Array]:
    """Make the sampler of a diffusion's scheduler: DPM-Solver++, UniPC, PLMS, LCM, or DDIM's steps for all others.

    Args:
      noise: step -> noise that LCM adds; the others add none.
      As `diffusion_grid`.

    Returns:
      (network, noise [B, ...]) -> samples [B, ...].
    """
    name, c = _read(config, "DDIMScheduler", False)
    grid, prediction = diffusion_grid(config, steps), PREDICTIONS[c["prediction_type"]]
    options = {"prediction": prediction, "clip_sample": False}
    if "solver_order" in c:
        is_unipc = name.startswith("UniPC")
        ends_in_noise = c["final_sigmas_type"] == "sigma_min"
        if is_unipc and (c["solver_order"] != 2 or not c["lower_order_final"]):
            raise ValueError(
                f"solver_order={c['solver_order']}, lower_order_final={c['lower_order_final']}: not in dlcore's UniPC; "
                "allowed: 2, True"
            )
        if ends_in_noise and not is_unipc and (c["euler_at_final"] or (c["lower_order_final"] and steps < 15)):
            raise ValueError(
                "final_sigmas_type='sigma_min': with a last step of Euler's, by lower_order_final or euler_at_final, "
                "not in dlcore's DPM-Solver++; allowed: 'zero', or 15 steps"
            )
        sampler, more = (unipc_sample, {}) if is_unipc else (dpmpp_sample, {"order": c["solver_order"]})
        return lambda network, start: sampler(network, start, lambda k: 0, grid, **options, **more)
    if name == "LCMScheduler":
        if noise is None:
            raise ValueError("noise=None: LCM adds noise in each step; allowed: step -> [B, ...]")
        options |= {"clip_sample": bool(c["clip_sample"])}
        return lambda network, start: lcm_sample(network, start, noise, grid, **options)
    if name == "PNDMScheduler":
        return lambda network, start: plms_sample(network, start, grid, prediction=prediction)
    bound = c["clip_sample_range"] if c.get("clip_sample") else np.inf

    def step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        # DDIM; where the clean example is clipped, the noise stays as predicted.
        return jnp.sqrt(alpha_cumprod_s) * jnp.clip(x0, -bound, bound) + jnp.sqrt(1 - alpha_cumprod_s) * eps, extra

    # Euler, Heun and LMS start from sigma z in place of sqrt(1 + sigma^2) z, and end in x0 + sigma eps.
    first, last = (1.0, 1.0) if _is_exact(name) else (1 - grid.alphas_cumprod[0], grid.alphas_cumprod[-1])
    first = 1.0 if c["timestep_spacing"] == "leading" else first

    def solve(network: Denoise, start: jax.Array) -> jax.Array:
        return integrate(step, network, start * float(first) ** 0.5, None, grid, **options) / float(last) ** 0.5

    return solve


def flow_times_of(config: Mapping[str, Any], steps: int, tokens: float, first_last: float | None = None) -> np.ndarray:
    """Space the times of a flow's scheduler.

    Args:
      config: content of scheduler_config.json.
      steps: steps of the solver.
      tokens: number of tokens of the image, for the dynamic shift.
      first_last: last time before the shift, as the pipeline gives it; None for the scheduler's own.

    Returns:
      [N + 1], falling from 1 to 0.
    """
    _, c = _read(config, "FlowMatchEulerDiscreteScheduler", True)
    check_whole_number("num_train_timesteps", c["num_train_timesteps"], 1)
    shift, last = c["shift"], 1 / c["num_train_timesteps"]
    if c["use_dynamic_shifting"]:
        fraction = (tokens - c["base_image_seq_len"]) / (c["max_image_seq_len"] - c["base_image_seq_len"])
        shift = c["base_shift"] + fraction * (c["max_shift"] - c["base_shift"])
        shift = np.exp(shift) if c["time_shift_type"] == "exponential" else shift
    else:
        last = shift * last / (1 + (shift - 1) * last)
    last = last if first_last is None or c["use_flow_sigmas"] else first_last
    t = np.linspace(1.0, last, steps)
    t = shift * t / (1 + (shift - 1) * t)
    if c["shift_terminal"]:
        if steps == 1:
            raise ValueError(f"shift_terminal={c['shift_terminal']}: of one step, which starts at 1; allowed: 2 steps")
        t = 1 - (1 - t) * (1 - c["shift_terminal"]) / (1 - t[-1])
    spaced = _respaced(c, t[0], t[-1], steps)
    return np.append(t if spaced is None else spaced, 0.0)


def flow_solver(
    config: Mapping[str, Any], steps: int, tokens: float, first_last: float | None = None
) -> Callable[[Denoise, jax.Array], jax.Array]:
    """Make the solver of a flow's scheduler, which is Euler's method.

    Args:
      tokens: see `flow_times_of`.
      first_last: see `flow_times_of`.
      As `flow_times_of`.

    Returns:
      (network, noise [B, ...]) -> samples [B, ...]; the network is given num_train_timesteps times the time.

    Raises:
      ValueError: as `flow_times_of`.
    """
    times = flow_times_of(config, steps, tokens, first_last)
    scale = config.get("num_train_timesteps", 1000) / 1000
    return lambda network, start: solve_flow(lambda x, t: network(x, scale * t), start, times)
