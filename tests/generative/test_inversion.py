"""DDIM inversion: each step is the library's, and the sampler leads back."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.inversion import ddim_invert
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from tests.generative.test_samplers import GOLDEN_2, fake, grid_of

ABAR = alphas_cumprod(linear_betas(1000))


def test_every_step_is_that_of_diffusers():
    with np.load(GOLDEN_2) as golden:
        steps = json.loads(str(golden["meta"]))["cases"]["ddim_inverse"]["num_inference_steps"]
        start, trace, visited = (golden[f"ddim_inverse/{key}"] for key in ("in.sample", "out.trace", "out.timesteps"))
    grid = sampling_grid(ABAR, timesteps(1000, steps))
    np.testing.assert_array_equal(grid.timesteps[::-1], visited)
    _, path = ddim_invert(fake, jnp.asarray(start, jnp.float32), grid, return_trajectory=True)
    np.testing.assert_allclose(path, trace, atol=1e-4 * trace.std())


def test_the_sampler_leads_back_where_the_noise_does_not_change():
    """A network of constant noise is the same on both ways."""
    x, grid = jax.random.normal(jax.random.key(0), (2, 3)), grid_of(5)

    def constant(x, t):
        return jnp.full_like(x, 0.3)

    noisy = ddim_invert(constant, x, grid)
    np.testing.assert_allclose(ddim_sample(constant, noisy, None, grid, clip_sample=False), x, atol=1e-4)
