"""Schedulers of published pipelines against diffusers 0.42.1: levels, timesteps, ten steps, and every key of a file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.published_schedulers import (
    ALL_KEYS,
    CLASSES,
    UNREAD,
    diffusion_grid,
    diffusion_solver,
    flow_times_of,
)
from dlcore.pretrained.pipeline import Pipeline
from tests.models.parity import GOLDENS

GOLDEN = np.load(GOLDENS / "pipeline_schedulers.npz")
META = json.loads(str(GOLDEN["meta"]))
STEPS = {"turbo": 1}
FIRST_IS_CUT = ("dpm_exponential", "dpm_beta", "unipc_exponential_last", "unipc_beta")
"""Their first timestep is 998.99 of 999 in diffusers' float32, of which it takes the whole number."""


def network(x, t):
    """Linear, and of each timestep."""
    return x @ GOLDEN["matrix"] * (1 + 0.0003 * t) + 0.05


def drawn(solve):
    with jax.disable_jit():  # few steps, which need no compiler
        return np.asarray(solve(network, jnp.asarray(GOLDEN["start"])))


def relative(found, expected):
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


@pytest.mark.covers("GE-40")
@pytest.mark.slow(unless=["sdxl", "turbo", "ddim", "ddim_trained", "unipc"])
@pytest.mark.parametrize("name", META["configs"])
def test_diffusion_s_levels_and_samples_are_those_of_diffusers(name):
    config, steps = META["configs"][name], STEPS.get(name, 10)
    grid = diffusion_grid(config, steps)
    np.testing.assert_allclose(grid.timesteps, GOLDEN[f"{name}/timesteps"], atol=1 if name in FIRST_IS_CUT else 0.002)
    if (sigmas := GOLDEN[f"{name}/sigmas"][: steps + 1]).size:  # DDIM has none
        np.testing.assert_allclose(1 / np.sqrt(grid.alphas_cumprod), np.sqrt(1 + sigmas**2), rtol=1e-5)
    solve = Pipeline("StableDiffusionXLPipeline", None, None, (), config, {})._diffusion(steps)
    assert relative(drawn(solve), GOLDEN[f"{name}/sample"]) < (1e-4 if name in FIRST_IS_CUT else 5e-6)


@pytest.mark.covers("GE-40")
@pytest.mark.parametrize("name", META["flows"])
def test_a_flow_s_times_and_samples_are_those_of_diffusers(name):
    kind, config = META["flows"][name]
    tokens = 1024  # of 4096 latents
    times = flow_times_of(config, 8, tokens, 1 / 8 if kind == "FluxPipeline" else None)
    np.testing.assert_allclose(times, GOLDEN[f"{name}/sigmas"], atol=1e-6)
    solve = Pipeline(kind, None, None, (), config, {})._flow(8, 4 * tokens)
    assert relative(drawn(solve), GOLDEN[f"{name}/sample"]) < 1e-6


def test_an_exact_network_of_sdxl_gives_the_image():
    """Noise predicted for data that are all .5 takes any noise to .5; one level of noise was left (std .0295)."""
    grid = diffusion_grid(META["configs"]["sdxl"], 10)

    def exact(x, t):
        abar = jnp.asarray(grid.alphas_cumprod)[jnp.argmin(jnp.abs(jnp.asarray(grid.timesteps) - t))]
        return (x - jnp.sqrt(abar) * 0.5) / jnp.sqrt(1 - abar)

    solve = jax.jit(diffusion_solver(META["configs"]["sdxl"], 10), static_argnums=0)
    np.testing.assert_allclose(solve(exact, jnp.asarray(GOLDEN["start"])), 0.5, atol=1e-5)


CHANGES = {
    "num_train_timesteps": 500, "beta_start": 0.001, "beta_end": 0.015, "trained_betas": [0.01] * 1000,
    "prediction_type": "v_prediction", "steps_offset": 3, "timestep_spacing": "trailing", "use_karras_sigmas": True,
    "use_exponential_sigmas": True, "use_beta_sigmas": True, "rescale_betas_zero_snr": True, "clip_sample": True,
    "clip_sample_range": 0.5, "thresholding": True, "solver_order": 1, "lower_order_final": False,
    "final_sigmas_type": "sigma_min", "use_flow_sigmas": True, "flow_shift": 2.0, "use_dynamic_shifting": True,
    "set_alpha_to_one": True, "skip_prk_steps": False, "interpolation_type": "log_linear",
    "algorithm_type": "dpmsolver",
    "timestep_type": "continuous", "solver_type": "bh1", "euler_at_final": True, "use_lu_lambdas": True,
    "lambda_min_clipped": -1.0, "variance_type": "fixed_large", "predict_x0": False, "disable_corrector": [0],
    "solver_p": {}, "shift_terminal": 0.1, "shift": 2.0, "base_shift": 0.7, "max_shift": 1.5, "sigma_max": 5.0,
    "base_image_seq_len": 100, "max_image_seq_len": 2000, "invert_sigmas": True, "time_shift_type": "linear",
    "stochastic_sampling": True, "sigma_min": 0.1, "dynamic_thresholding_ratio": 0.5, "sample_max_value": 2.0,
    "beta_schedule": "linear", "original_inference_steps": 40, "timestep_scaling": 5.0,
}  # fmt: skip
SAMPLER_KEYS = ("prediction_type", "clip_sample", "clip_sample_range", "solver_order", "timestep_spacing")
"""What changes the steps beside their levels."""
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
PUBLISHED = {
    "stable_diffusion_1": {"_class_name": "PNDMScheduler", **SD, "skip_prk_steps": True, "set_alpha_to_one": False},
    "stable_diffusion_2": {"_class_name": "DDIMScheduler", **SD, "clip_sample": False, "set_alpha_to_one": False},
    "sdxl": {"_class_name": "EulerDiscreteScheduler", **SD, "timestep_spacing": "leading", "set_alpha_to_one": False},
    "turbo": {"_class_name": "EulerAncestralDiscreteScheduler", **SD, "timestep_spacing": "linspace"},
    "heun": {"_class_name": "HeunDiscreteScheduler", **SD},
    "lms": {"_class_name": "LMSDiscreteScheduler", **SD},
    "ddpm": {"_class_name": "DDPMScheduler", **SD, "clip_sample": False},
    "pixart": {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "scaled_linear"},
    "unipc": {"_class_name": "UniPCMultistepScheduler", **SD, "timestep_spacing": "leading"},
    "sd3": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    "flux_dev": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": True},
}


def changed(name, key):
    kind = PUBLISHED[name]["_class_name"]
    if key == "timestep_spacing" and kind in ("DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler"):
        return "leading"
    if key == "use_dynamic_shifting" and name == "flux_dev":
        return False
    return "heun" if (key, kind) == ("solver_type", "DPMSolverMultistepScheduler") else CHANGES[key]


def moves(name, key):
    """Whether another value of a key changes the levels, the timesteps or the samples of 16 steps."""
    old, new = PUBLISHED[name], PUBLISHED[name] | {key: changed(name, key)}
    if name in ("sd3", "flux_dev"):
        first, second = (flow_times_of(c, 16, 900, 1 / 16 if name == "flux_dev" else None) for c in (old, new))
        scales = [config.get("num_train_timesteps") for config in (old, new)]
        return not np.array_equal(first, second) or scales[0] != scales[1]
    solvers = [diffusion_solver(config, 16) for config in (old, new)]
    grids = [diffusion_grid(config, 16) for config in (old, new)]
    if any(not np.array_equal(a, b) for a, b in zip(*(grid[:2] for grid in grids), strict=True)):
        return True
    return key in SAMPLER_KEYS and not np.array_equal(*map(drawn, solvers))


@pytest.mark.slow(unless=["sdxl", "flux_dev"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_each_key_changes_the_samples_or_is_refused_or_has_its_reason(name):
    assert {*CHANGES} == ALL_KEYS
    own = CLASSES[PUBLISHED[name]["_class_name"]]
    for key in sorted(ALL_KEYS):
        try:
            moved = moves(name, key)
        except ValueError as error:
            assert f"{key}=" in str(error)  # noqa: PT017
            assert key in own
        else:  # a key of another class changes nothing
            assert (moved or key in UNREAD) if key in own else not moved, key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "scheduler='EDMEulerScheduler': not in dlcore"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "scheduler='FlowMatchEulerDiscreteScheduler': not in dl"),
        ({"sigma_data": 0.5}, "sigma_data=0.5: no key of a EulerDiscreteScheduler; allowed: num_train_timesteps"),
        ({"prediction_type": "flow_prediction"}, "prediction_type='flow_prediction': not in dlcore's Euler"),
        ({"use_karras_sigmas": True, "use_beta_sigmas": True}, "use_karras_sigmas, use_beta_sigmas: two spacings"),
        ({"trained_betas": [0.1, 0.2]}, r"trained_betas: \[2\]; allowed: \[1000\], num_train_timesteps"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid': not in dlcore's EulerDiscreteScheduler; allowed: 'li"),
    ],
)
def test_unknown_classes_keys_and_values_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        diffusion_solver(PUBLISHED["sdxl"] | change, 10)
