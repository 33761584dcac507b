"""Schedules against worked numbers and goldens; the closed form against the chain, step by step."""

import json

import numpy as np
import pytest

from dlcore.generative.schedules import (
    SCHEDULES,
    add_noise,
    alphas_cumprod,
    cosine_betas,
    linear_betas,
    sampling_grid,
    timesteps,
)

GOLDEN = "tests/goldens/df_schedulers.npz"


@pytest.mark.covers("GE-23")
def test_the_last_alpha_cumprod_of_the_papers_schedule():
    betas = linear_betas(1000)
    assert (betas[0], betas[-1]) == pytest.approx((1e-4, 0.02))
    assert alphas_cumprod(betas)[999] == pytest.approx(4.0358e-5, rel=1e-4)
    assert alphas_cumprod(betas)[0] == pytest.approx(1 - 1e-4)


@pytest.mark.covers("GE-23")
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_closed_form_has_the_moments_of_the_chain(name):
    """E x_t = prod sqrt(1 - beta) x_0 and Var x_t = (1 - beta) Var x_{t-1} + beta, from Var x_0 = 0."""
    betas = SCHEDULES[name](1000)
    bars = alphas_cumprod(betas)
    mean, variance = 1.0, 0.0
    for beta, bar in zip(betas, bars, strict=True):
        mean, variance = np.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert mean == pytest.approx(np.sqrt(bar), rel=1e-9)
        assert variance == pytest.approx(1 - bar, rel=1e-9)
    assert (np.diff(bars) < 0).all()


@pytest.mark.covers("GE-23")
def test_a_simulated_chain_agrees_with_add_noise():
    rng = np.random.default_rng(0)
    betas = linear_betas(20)
    x = np.full(20000, 3.0)
    for beta in betas:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.normal(size=x.shape)
    direct = np.asarray(add_noise(np.full(20000, 3.0), rng.normal(size=x.shape), alphas_cumprod(betas)[-1]))
    assert x.mean() == pytest.approx(direct.mean(), abs=0.04)
    assert x.std() == pytest.approx(direct.std(), abs=0.04)


@pytest.mark.parametrize(
    ("case", "name"), [("ddpm.linear", "linear"), ("ddpm.cosine_large_clip", "cosine"), ("ddim.eta1", "scaled_linear")]
)
def test_alphas_cumprod_and_noising_equal_the_library(case, name):
    with np.load(GOLDEN) as golden:
        stride = json.loads(str(golden["meta"]))["cases"][case]["alphas_cumprod_stride"]
        bars = alphas_cumprod(SCHEDULES[name](1000))
        np.testing.assert_allclose(bars[::stride], golden[f"{case}/out.alphas_cumprod"], rtol=1e-4)
        grid = golden[f"{case}/out.timesteps"].astype(int)
        x, z = golden[f"{case}/in.sample"][0], golden[f"{case}/in.z"][0]
        for t, want in zip(grid[[0, len(grid) // 2, -1]], golden[f"{case}/out.add_noise"], strict=True):
            np.testing.assert_allclose(add_noise(x, z, bars[t]), want, atol=1e-4)


def test_few_steps_end_in_noise_too():
    assert all(alphas_cumprod(betas(steps))[-1] < 0.02 for betas in SCHEDULES.values() for steps in (10, 100))


def test_cosine_by_hand():
    # One step of two, offset 0: abar = cos^2(pi / 4) = 1 / 2, then 1 - beta is held at 0.001.
    np.testing.assert_allclose(cosine_betas(2, offset=0.0), [0.5, 0.999])


FIRST = {
    "leading": {1: [0], 5: [800, 600], 10: [900, 800], 21: [940, 893], 50: [980, 960], 1000: [999, 998]},
    "trailing": {1: [999], 5: [999, 799], 10: [999, 899], 21: [999, 951], 50: [999, 979], 1000: [999, 998]},
    "linspace": {1: [999], 5: [999, 749], 10: [999, 888], 21: [999, 949], 50: [999, 979], 1000: [999, 998]},
}
"""The first two timesteps; linspace of 5 is 999 - 249.75 k, of which 749.25 rounds to 749."""
LAST = {
    "leading": {1: 0, 5: 0, 10: 0, 21: 0, 50: 0, 1000: 0},
    "trailing": {1: 999, 5: 199, 10: 99, 21: 47, 50: 19, 1000: 0},
    "linspace": {1: 999, 5: 0, 10: 0, 21: 0, 50: 0, 1000: 0},
}


@pytest.mark.covers("GE-29")
@pytest.mark.parametrize("spacing", FIRST)
@pytest.mark.parametrize("steps", [1, 5, 10, 21, 50, 1000])
def test_the_timesteps_of_each_spacing(spacing, steps):
    grid = timesteps(1000, steps, spacing)
    assert len(grid) == steps
    assert (np.diff(grid) < 0).all()
    assert grid[:2].tolist() == FIRST[spacing][steps]
    assert grid[-1] == LAST[spacing][steps]


@pytest.mark.parametrize("final_alpha", ["one", "first"])
@pytest.mark.parametrize("steps", [1, 5, 21, 1000])
def test_each_step_ends_where_the_next_begins_and_the_last_at_the_final_alpha(final_alpha, steps):
    """No fixed stride: uneven spacings too follow the grid."""
    bars = alphas_cumprod(linear_betas(1000))
    visited = timesteps(1000, steps, "linspace")
    grid = sampling_grid(bars, visited, final_alpha=final_alpha)
    np.testing.assert_allclose(grid.alphas_cumprod[:-1], bars[visited], rtol=1e-9)
    assert grid.alphas_cumprod[-1] == (1 if final_alpha == "one" else bars[0])


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_numbers_of_steps_are_named(steps):
    with pytest.raises(ValueError, match=f"num_inference_steps={steps}: out of range"):
        timesteps(1000, steps)


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match=r"num_inference_steps=2.5: out of range; allowed: whole numbers, 1 to 1000"):
        timesteps(1000, 2.5)


def test_an_offset_beyond_the_last_timestep_is_named():
    assert timesteps(1000, 8, offset=1)[[0, -1]].tolist() == [876, 1]
    with pytest.raises(
        ValueError, match="offset=1: leaves the timesteps; allowed: whole numbers, 0 to 0 for 1000 steps"
    ):
        timesteps(1000, 1000, offset=1)


def test_karras_sigmas_of_one_step_are_that_step():
    bars = alphas_cumprod(linear_betas(1000))
    grid = sampling_grid(bars, np.array([999]), sigmas="karras")
    assert grid.timesteps.tolist() == [999]
