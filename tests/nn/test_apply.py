"""A model in use and in training: dropout, batch statistics, and the method that is called."""

import jax
import numpy as np
from flax import linen as nn

from dlcore.nn import BatchNorm, apply_model


class Model(nn.Module):
    """Inputs that are normalized; in training half of them are dropped."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(BatchNorm(not train, momentum=0.75)(x))

    def double(self, x, train):
        return 2 * x, train


X = np.float32([[1], [3]])
STATE = dict(jax.jit(Model().init, static_argnames="train")(jax.random.key(0), X, train=False))
PARAMS = STATE.pop("params")


def test_in_use_nothing_moves_and_nothing_is_dropped():
    """Mean 0 and variance 1 are the first statistics."""
    out, state = apply_model(Model(), PARAMS, STATE, X, train=False)
    np.testing.assert_allclose(out, X, rtol=1e-4)
    assert state is STATE


def test_in_training_statistics_move_and_the_key_drops():
    """The mean is 2: a quarter of the way from 0 is 0.5. Normalized values are -1 and 1, and twice that if kept."""
    outs = []
    for seed in range(8):
        out, state = apply_model(Model(), PARAMS, STATE, X, train=True, rng=jax.random.key(seed))
        np.testing.assert_allclose(state["batch_stats"]["BatchNorm_0"]["mean"], [0.5])
        outs.append(np.round(np.ravel(out), 3).tolist())
    assert {value for out in outs for value in np.abs(out)} == {0.0, 2.0}
    assert len({tuple(out) for out in outs}) > 1


def test_another_method_and_what_a_model_does_not_carry():
    (out, train), state = apply_model(Model(), PARAMS, {}, X, train=True, method="double")
    np.testing.assert_array_equal(out, 2 * X)
    assert train
    assert state == {}
