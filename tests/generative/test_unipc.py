"""UniPC and TCD: the order of the one, the jumps of the other by hand, and bad input."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import SamplingGrid, sampling_grid, timesteps
from dlcore.generative.tcd import tcd_sample
from dlcore.generative.unipc import unipc_sample
from tests.generative.test_samplers import ABAR, fake, grid_of


@pytest.mark.covers("GE-41")
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd_jumps_and_adds_noise_by_hand(eta):
    """Timesteps 750, 500, 250, 0: jumps to floor((1 - eta) s), in float64; the last step ends at abar = 1."""
    grid, x = grid_of(4), np.linspace(-1.5, 1.5, 6).reshape(2, 3)
    z = np.cos(np.arange(24.0)).reshape(4, 2, 3)
    _, path = tcd_sample(
        fake, jnp.asarray(x, jnp.float32), lambda k: jnp.asarray(z, jnp.float32)[k], grid,
        clip_sample=False, eta=eta, return_trajectory=True,
    )  # fmt: skip
    for k, (t, s) in enumerate(zip((750, 500, 250, 0), (500, 250, 0, None), strict=True)):
        eps = x * np.tanh(t / 200) + 0.1 * np.sin(3 * x)
        x0 = (x - np.sqrt(1 - ABAR[t]) * eps) / np.sqrt(ABAR[t])
        level, end = (1.0, 1.0) if s is None else (ABAR[int((1 - eta) * s)], ABAR[s])
        x = np.sqrt(end / level) * (np.sqrt(level) * x0 + np.sqrt(1 - level) * eps) + np.sqrt(1 - end / level) * z[k]
        np.testing.assert_allclose(path[k + 1], x, atol=1e-4)
    if eta == 0:
        ddim = ddim_sample(fake, path[0], None, grid, clip_sample=False)
        np.testing.assert_allclose(path[-1], ddim, atol=1e-5)


@pytest.mark.covers("GE-41")
def test_unipc_corrects_to_a_higher_order():
    """From one start, 64 steps of UniPC are nearer to the exact end of the path than 64 of DPM-Solver++ or of DDIM."""
    log_sigma = jnp.asarray(np.log(1 / ABAR - 1) / 2)

    def denoise(x, t):  # the best predictor for N(.3, .2^2)
        abar = 1 / (1 + jnp.exp(2 * jnp.interp(t, jnp.arange(1000), log_sigma)))
        return (x - jnp.sqrt(abar) * 0.3) * jnp.sqrt(1 - abar) / (abar * 0.04 + 1 - abar)

    x = jnp.linspace(-2, 2, 9)[:, None]
    exact = 0.3 + 0.2 * (x - ABAR[-1] ** 0.5 * 0.3) / np.sqrt(ABAR[-1] * 0.04 + 1 - ABAR[-1])
    grid = sampling_grid(ABAR, timesteps(1000, 64, "linspace"), sigmas="karras")
    ddim, dpmpp, unipc = (
        np.abs(sampler(denoise, x, None, grid, clip_sample=False) - exact).max()
        for sampler in (ddim_sample, dpmpp_sample, unipc_sample)
    )
    assert unipc < 0.2 * dpmpp < 0.04 * ddim


def test_tcd_needs_training_levels_and_an_eta():
    with pytest.raises(ValueError, match=r"train_alphas_cumprod=None: .* allowed: a grid of sampling_grid"):
        tcd_sample(fake, jnp.ones((1, 2)), lambda k: 0.0, SamplingGrid(*grid_of(3)[:2]))
