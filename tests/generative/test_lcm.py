"""Latent consistency models: each step is the library's, and bad input is named."""

import numpy as np
import pytest

from dlcore.generative.lcm import lcm_sample, lcm_timesteps
from tests.generative.test_samplers import golden_run


def test_every_step_is_that_of_diffusers():
    visited, path, timesteps, trace = golden_run(
        "lcm", lcm_sample, "scaled_linear", visited=lambda n: lcm_timesteps(1000, n)
    )
    np.testing.assert_array_equal(visited, timesteps)
    np.testing.assert_allclose(path, trace, atol=1e-4 * trace.std())


def test_steps_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="num_inference_steps=0: out of range; allowed: 1 to 50"):
        lcm_timesteps(1000, 0)
