"""Samplers by noise level: each step is the library's, and bad input is named."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.edm import consistency_sample, edm_sample
from dlcore.generative.schedules import karras_sigmas
from tests.generative.test_samplers import GOLDEN_2, fake


def read(case):
    with np.load(GOLDEN_2) as golden:
        return {key.split("/")[1]: golden[key] for key in golden.files if key.startswith(f"{case}/")}


def test_every_step_of_edm_is_that_of_diffusers():
    golden = read("edm_euler")
    sigmas = np.append(karras_sigmas(6), 0)
    np.testing.assert_allclose(sigmas, golden["out.sigmas"], rtol=1e-5)
    trace = golden["out.trace"]
    _, path = edm_sample(fake, jnp.asarray(trace[0], jnp.float32), sigmas, return_trajectory=True)
    for step, reference in zip(path, trace, strict=True):
        np.testing.assert_allclose(step, reference, atol=1e-4 * reference.std())


def test_every_step_of_a_consistency_model_is_that_of_diffusers():
    golden = read("consistency")
    sigmas = np.append(karras_sigmas(40)[::10], 0.002)
    np.testing.assert_allclose(sigmas, golden["out.sigmas"], rtol=1e-5)
    trace, noise = golden["out.trace"], jnp.asarray(golden["in.noise"], jnp.float32)
    start = jnp.asarray(trace[0], jnp.float32)
    _, path = consistency_sample(fake, start, lambda k: noise[k], sigmas, return_trajectory=True)
    for step, reference in zip(path, trace, strict=True):
        np.testing.assert_allclose(step, reference, atol=1e-4 * reference.std())


def test_levels_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="steps=0: too few; allowed: at least 1"):
        karras_sigmas(0)
    with pytest.raises(ValueError, match=r"sigma_min=2: out of range; allowed: above 0, below sigma_max=1"):
        karras_sigmas(3, 2, 1)
