"""Consistency models: each step is the diffusers library's."""

import jax.numpy as jnp
import numpy as np

from dlcore.generative.consistency import consistency_sample
from dlcore.generative.schedules import karras_sigmas
from tests.generative.test_edm import read
from tests.generative.test_samplers import fake


def test_every_step_of_a_consistency_model_is_that_of_diffusers():
    golden = read("consistency")
    sigmas = np.append(karras_sigmas(40)[::10], 0.002)
    np.testing.assert_allclose(sigmas, golden["out.sigmas"], rtol=1e-5)
    trace, noise = golden["out.trace"], jnp.asarray(golden["in.noise"], jnp.float32)
    start = jnp.asarray(trace[0], jnp.float32)
    _, path = consistency_sample(fake, start, lambda k: noise[k], sigmas, return_trajectory=True)
    for step, reference in zip(path, trace, strict=True):
        np.testing.assert_allclose(step, reference, atol=1e-4 * reference.std())
