"""The optimizer of two players obeys its flags."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.experiment.experiment import Setup
from dlcore.experiment.resolve import resolve
from dlcore.experiment.setting import FlagError
from dlcore.kits.generative.gan_optimizer import GANAdam
from experiments.generative.gan import experiment


def first_update(*words):
    tx = GANAdam().build(Setup(resolve(experiment, list(words)), {}, 10, jnp.float32))
    params = jnp.ones(3)
    return tx.update(jnp.ones(3), tx.init(params), params)[0]


def test_the_rate_is_the_one_that_was_given():
    """Adam's first update is the rate, downhill."""
    np.testing.assert_allclose(first_update("--learning_rate=0.5"), -0.5, rtol=1e-4)
    np.testing.assert_array_equal(first_update("--learning_rate=0"), 0)
    with pytest.raises(FlagError, match=r"--learning_rate=-1.0: out of range; allowed: at least 0"):
        resolve(experiment, ["--learning_rate=-1"])
