"""The optimizer of two players obeys its flags."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.optim import GANAdam
from dlcore.setting import FlagError
from experiments.generative.gan import experiment


def first_update(rate):
    tx = GANAdam(learning_rate=rate).build(10)
    params = jnp.ones(3)
    return tx.update(jnp.ones(3), tx.init(params), params)[0]


def test_the_rate_is_the_one_that_was_given():
    """Adam's first update is the rate, downhill."""
    np.testing.assert_allclose(first_update(0.5), -0.5, rtol=1e-4)
    np.testing.assert_array_equal(first_update(0.0), 0)
    with pytest.raises(FlagError, match=r"--learning_rate=-1.0: out of range; allowed: at least 0"):
        resolve(experiment, ["--learning_rate=-1"])


def test_the_second_step_has_the_momentum_and_the_rate_of_the_schedule():
    """Gradients 1, then -1: Adam's corrected mean is (b (1 - b) - (1 - b)) / (1 - b^2) = -(1 - b) / (1 + b), over 1.

    By default b is 0.5, and the rate falls linearly over 10 steps: 2e-4 of the first, nine tenths of it of the second.
    """
    constant = GANAdam(schedule="constant", momentum=0.9)
    for optimizer, rate, momentum in ((GANAdam(), 0.9 * 2e-4, 0.5), (constant, 2e-4, 0.9)):
        tx, params = optimizer.build(10), jnp.ones(2)
        _, state = tx.update(jnp.ones(2), tx.init(params), params)
        update, _ = tx.update(-jnp.ones(2), state, params)
        np.testing.assert_allclose(update, rate * (1 - momentum) / (1 + momentum), rtol=1e-4)


def test_a_momentum_is_below_one():
    assert resolve(experiment, ["--momentum=0.999999"]).momentum == 0.999999
    for momentum in (1.0, -0.5):
        with pytest.raises(FlagError, match=f"--momentum={momentum}: out of range; allowed: 0 to 0.999999"):
            resolve(experiment, [f"--momentum={momentum}"])
