"""Schedules against worked numbers and goldens; the closed form against the chain, step by step."""

import json

import numpy as np
import pytest

from dlcore.generative.schedules import SCHEDULES, add_noise, alphas_cumprod, cosine_betas, linear_betas

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


def test_no_steps_is_an_error():
    with pytest.raises(ValueError, match="num_timesteps=0: too few"):
        linear_betas(0)
