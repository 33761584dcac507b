import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from dlcore.losses import softmax_cross_entropy_loss


def test_hand_worked_example():
    # log(e^3.2 + e^5.1 + e^-1.7) = 5.240355; minus the score 3.2 of the true class.
    scores = jnp.array([3.2, 5.1, -1.7])
    assert float(softmax_cross_entropy_loss(scores, 0)) == pytest.approx(2.040355, abs=1e-6)
    # Smoothing adds eps times (mean loss over classes - loss): (2.040355 + 0.140355 + 6.940355) / 3 = 3.040355.
    assert float(softmax_cross_entropy_loss(scores, 0, 0.1)) == pytest.approx(2.140355, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_equal_scores_cost_log_c(classes, smoothing):
    loss = softmax_cross_entropy_loss(jnp.zeros(classes), classes - 1, smoothing)
    assert float(loss) == pytest.approx(math.log(classes), rel=1e-6)


@given(st.integers(0, 10_000))
def test_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(7, 4)).astype(np.float32) * 3
    label = rng.integers(0, 4, 7)
    losses = jax.vmap(softmax_cross_entropy_loss)(logits, label)
    wide = logits.astype(np.float64)
    probabilities = np.exp(wide) / np.exp(wide).sum(-1, keepdims=True)
    assert losses.shape == (7,)
    assert float(losses.mean()) == pytest.approx(log_loss(label, probabilities, labels=range(4)), rel=1e-5)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.7]))
def test_gradient_is_softmax_minus_target(seed, smoothing):
    rng = np.random.default_rng(seed)
    logits, label = jnp.asarray(rng.normal(size=5), jnp.float32), int(rng.integers(5))
    got = jax.grad(softmax_cross_entropy_loss)(logits, label, smoothing)
    target = (1 - smoothing) * np.eye(5)[label] + smoothing / 5
    np.testing.assert_allclose(got, jax.nn.softmax(logits) - target, atol=1e-6)


def test_large_scores_do_not_overflow():
    scores = jnp.array([1e4, 0.0, -1e4])
    losses = [float(softmax_cross_entropy_loss(scores, label)) for label in range(3)]
    assert losses == [0.0, 1e4, 2e4]
    assert float(softmax_cross_entropy_loss(scores + 1e4, 1)) == pytest.approx(1e4)


def test_a_class_ruled_out_costs_nothing_where_it_is_not_the_label():
    scores = jnp.array([0.0, 0.0, -jnp.inf])
    assert float(softmax_cross_entropy_loss(scores, 0)) == pytest.approx(math.log(2))
    assert np.isfinite(jax.grad(softmax_cross_entropy_loss)(scores, 0)[:2]).all()
    assert float(softmax_cross_entropy_loss(scores, 2)) == math.inf


def test_float64_stays_float64_and_smoothing_may_be_traced():
    with jax.enable_x64(True):
        assert softmax_cross_entropy_loss(jnp.zeros(3, jnp.float64), 1).dtype == jnp.float64
    scores = jnp.array([3.2, 5.1, -1.7])
    got = jax.jit(jax.vmap(lambda eps: softmax_cross_entropy_loss(scores, 0, eps)))(jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(got, [2.040355, 2.140355], atol=1e-6)
