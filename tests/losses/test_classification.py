"""Class scores: worked numbers, gradients, and what shifts and large scores do."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from dlcore.losses import (
    binary_cross_entropy_loss,
    multiclass_hinge_loss,
    softmax,
    softmax_cross_entropy_loss,
    squared_hinge_loss,
)


@pytest.mark.covers("LO-04", "LO-10")
def test_hand_worked_example():
    # log(e^3.2 + e^5.1 + e^-1.7) = 5.240355; minus the score 3.2 of the true class.
    scores = np.float32([3.2, 5.1, -1.7])
    loss = jax.jit(softmax_cross_entropy_loss)
    assert float(loss(scores, 0)) == pytest.approx(2.040355, abs=1e-6)
    # e^3.2 = 24.532530, e^5.1 = 164.021907, e^-1.7 = 0.182684; sum 188.737121.
    np.testing.assert_allclose(softmax(scores), [0.12998, 0.86905, 0.00097], atol=5e-6)
    assert -math.log(24.532530 / 188.737121) == pytest.approx(2.040355, abs=1e-6)
    # Smoothing adds eps times (mean loss over classes - loss): (2.040355 + 0.140355 + 6.940355) / 3 = 3.040355.
    assert float(loss(scores, 0, 0.1)) == pytest.approx(2.140355, abs=1e-6)


@pytest.mark.slow(unless=["10-0.1"])
@pytest.mark.covers("LO-04")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_equal_scores_cost_log_c(classes, smoothing):
    loss = softmax_cross_entropy_loss(jnp.zeros(classes), classes - 1, smoothing)
    assert float(loss) == pytest.approx(math.log(classes), rel=1e-6)


@pytest.mark.slow
@given(st.integers(0, 10_000))
def test_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(7, 4)).astype(np.float32) * 3
    label = rng.integers(0, 4, 7)
    losses = softmax_cross_entropy_loss(logits, label)
    wide = logits.astype(np.float64)
    probabilities = np.exp(wide) / np.exp(wide).sum(-1, keepdims=True)
    chex.assert_shape(losses, (7,))
    assert float(losses.mean()) == pytest.approx(log_loss(label, probabilities, labels=range(4)), rel=1e-5)


@pytest.mark.slow
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


@pytest.mark.covers("LO-10")
def test_smoothed_targets_by_hand():
    # eps = 0.1 over 10 classes: 0.9 + 0.1 / 10 = 0.91 for the label, 0.1 / 10 = 0.01 for the others. At equal scores
    # the gradient is softmax - target: 0.1 - 0.91 and 0.1 - 0.01.
    gradient = jax.jit(jax.grad(lambda s: softmax_cross_entropy_loss(s, 3, 0.1)))(np.zeros(10, np.float32))
    np.testing.assert_allclose(0.1 - gradient, np.where(np.arange(10) == 3, 0.91, 0.01), atol=1e-6)


def test_a_label_may_be_probabilities():
    scores = jnp.array([3.2, 5.1, -1.7])
    parts = [float(softmax_cross_entropy_loss(scores, label)) for label in range(3)]
    mixed = softmax_cross_entropy_loss(scores, jnp.array([0.25, 0.75, 0.0]))
    assert float(mixed) == pytest.approx(0.25 * parts[0] + 0.75 * parts[1], rel=1e-6)


def test_class_weights_scale_the_loss_of_their_label():
    scores, weights = jnp.array([3.2, 5.1, -1.7]), jnp.array([2.0, 1.0, 0.5])
    for label in range(3):
        plain = float(softmax_cross_entropy_loss(scores, label))
        weighted = float(softmax_cross_entropy_loss(scores, label, class_weights=weights))
        assert weighted == pytest.approx(plain * float(weights[label]), rel=1e-6)
    # Smoothed by .3 or given, each class's part of the target has its own weight. -log p is 2.040355, .140355, 6.940355
    loss = jax.jit(lambda s, y: softmax_cross_entropy_loss(s, y, class_weights=weights))
    parts = 2 * 2.040355, 0.140355, 0.5 * 6.940355
    given = loss(scores, np.float32([0.2, 0.5, 0.3]))
    assert float(given) == pytest.approx(np.dot([0.2, 0.5, 0.3], parts), rel=1e-5)
    smoothed = jax.jit(lambda s: softmax_cross_entropy_loss(s, 0, 0.3, weights))(scores)
    assert float(smoothed) == pytest.approx(np.dot([0.8, 0.1, 0.1], parts), rel=1e-5)


@pytest.mark.covers("LO-03")
def test_softmax_by_hand():
    # e^1 + e^2 + e^3 + e^4 + e^1 + e^2 + e^3 = 114.98; e / 114.98 = 0.02364, and e times more for each further step.
    got = softmax(jnp.array([1.0, 2, 3, 4, 1, 2, 3]))
    want = [0.02364054, 0.06426166, 0.1746813, 0.474833, 0.02364054, 0.06426166, 0.1746813]
    np.testing.assert_allclose(got, want, atol=5e-7)


@pytest.mark.covers("LO-03")
def test_the_shift_keeps_softmax_finite():
    scores = np.array([123.0, 456, 789], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(np.exp(scores) / np.exp(scores).sum()).all()
    np.testing.assert_array_equal(scores - scores.max(), [-666, -333, 0])
    p, slopes = jax.jit(lambda s: (softmax(s), jax.jacobian(softmax)(s)))(scores)
    np.testing.assert_array_equal(p, [0, 0, 1])
    assert np.isfinite(slopes).all()


@pytest.mark.covers("LO-03")
@given(st.integers(0, 10_000), st.floats(-1e3, 1e3))
def test_softmax_does_not_see_a_shift(seed, shift):
    with jax.enable_x64(True):
        scores = np.random.default_rng(seed).normal(size=6) * 5
        np.testing.assert_allclose(softmax(scores + shift), softmax(scores), atol=1e-12)
        assert float(softmax(scores).sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.covers("LO-01")
def test_hinge_by_hand():
    # max(0, 5.1 - 3.2 + 1) + max(0, -1.7 - 3.2 + 1) = 2.9 + 0; torch's mean over 3 classes is 0.9667.
    scores = jnp.array([3.2, 5.1, -1.7])
    assert float(multiclass_hinge_loss(scores, 0)) == pytest.approx(2.9, abs=1e-6)
    assert float(multiclass_hinge_loss(scores, 0)) / 3 == pytest.approx(0.9667, abs=5e-5)
    # car: max(0, 3.2 - 5.1 + 1) + max(0, -1.7 - 5.1 + 1) = 0; frog: (4.9 + 1) + (6.8 + 1) = 13.7
    assert float(multiclass_hinge_loss(scores, 1)) == 0
    assert float(multiclass_hinge_loss(scores, 2)) == pytest.approx(13.7, rel=1e-6)


@pytest.mark.covers("LO-01")
def test_hinge_of_equal_scores_is_one_less_than_the_classes():
    loss = jax.jit(multiclass_hinge_loss)
    for classes in (2, 3, 10):
        assert float(loss(np.zeros(classes, np.float32), 0)) == classes - 1
    assert float(loss(np.zeros(4, np.float32), 0, 0.5)) == 1.5


@pytest.mark.covers("LO-01")
def test_weights_of_no_hinge_loss_are_not_unique():
    x, w = jnp.array([1.0, 2.0]), jnp.array([[3.0, 0.0], [0.0, -1.0], [-2.0, 1.0]])
    assert [float(multiclass_hinge_loss(k * w @ x, 0)) for k in (1, 2)] == [0, 0]


@pytest.mark.slow
@pytest.mark.covers("LO-01")
@given(st.integers(0, 10_000))
def test_hinge_gradient_counts_the_classes_that_come_too_close(seed):
    rng = np.random.default_rng(seed)
    scores, label = rng.normal(size=5).astype(np.float32), int(rng.integers(5))
    close = np.array([j != label and scores[j] - scores[label] + 1 > 0 for j in range(5)], float)
    close[label] = -close.sum()
    np.testing.assert_array_equal(jax.grad(multiclass_hinge_loss)(jnp.asarray(scores), label), close)


@pytest.mark.covers("LO-02")
def test_squared_hinge_by_hand():
    # 2.9^2 = 8.41, and a double violation costs four times as much.
    assert float(squared_hinge_loss(jnp.array([3.2, 5.1, -1.7]), 0)) == pytest.approx(8.41, abs=1e-5)
    assert float(squared_hinge_loss(jnp.zeros(2), 0, 2.0)) == 4 * float(squared_hinge_loss(jnp.zeros(2), 0, 1.0))


@pytest.mark.covers("LO-07")
def test_binary_cross_entropy_by_hand():
    # p = sigmoid(log 3) = 3/4: -log 3/4 for the answer 1, -log 1/4 for 0; half each for the answer 1/2.
    s = jnp.log(jnp.array([3.0]))
    one, zero = -math.log(0.75), -math.log(0.25)
    assert float(binary_cross_entropy_loss(s, jnp.ones(1))) == pytest.approx(one, rel=1e-6)
    assert float(binary_cross_entropy_loss(s, jnp.zeros(1))) == pytest.approx(zero, rel=1e-6)
    assert float(binary_cross_entropy_loss(s, jnp.array([0.5]))) == pytest.approx((one + zero) / 2, rel=1e-6)
    weighted = binary_cross_entropy_loss(jnp.tile(s, 2), jnp.array([1, 0]), 2.0)
    assert float(weighted) == pytest.approx(2 * one + zero)


@pytest.mark.covers("LO-07")
def test_binary_cross_entropy_is_optax_and_exact_where_it_saturates():
    scores, target = np.float32([-100, -3, 0, 2, 100]), np.float32([1, 0, 1, 0.3, 0])
    loss = jax.jit(jax.value_and_grad(binary_cross_entropy_loss))
    want = jax.jit(optax.sigmoid_binary_cross_entropy)(scores, target).sum()
    assert float(loss(scores, target)[0]) == pytest.approx(float(want), rel=1e-6)
    # -log sigmoid(-100) = 100 + log(1 + e^-100); its slope is sigmoid - 1 = -1.
    value, slope = loss(np.float32([-100]), np.ones(1, np.float32))
    assert (float(value), float(slope[0])) == (100.0, -1.0)
    value, _ = loss(np.float32([100]), np.ones(1, np.float32))
    assert float(value) == pytest.approx(math.exp(-100), abs=1e-40)


@pytest.mark.covers("LO-07")
def test_binary_cross_entropy_is_the_two_class_softmax():
    for score in (-4.0, 0.3, 7.0):
        two = softmax_cross_entropy_loss(jnp.array([score, 0.0]), 0)
        assert float(binary_cross_entropy_loss(jnp.array([score]), jnp.ones(1))) == pytest.approx(
            float(two), rel=1e-5, abs=1e-6
        )


def test_a_class_that_is_ignored_costs_nothing_with_smoothing_either():
    """Logits (1, 0), label 0, eps .1: .95 log(1 + e^-1) + .05 (1 + log(1 + e^-1)) = .3633; labels -1 and 2 cost 0."""
    labels = np.array([0, -1, 2])
    loss = jax.jit(lambda s: softmax_cross_entropy_loss(s, labels, 0.1))(np.float32([[1, 0]] * 3))
    np.testing.assert_allclose(loss, [0.3633, 0, 0], atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6, 1e8])
def test_a_number_added_to_all_scores_changes_nothing(offset):
    """Two equal scores cost log 2, and differences of 16, 8 and 0 (which float32 holds at 1e8) as in float64."""
    logits = np.float32(offset) + np.float32([[0, 0, -np.inf], [16, 8, 0], [-16, 16, 16]])
    want = [np.log(2), np.log1p(np.exp(-8) + np.exp(-16)), np.log1p(2 * np.exp(32))]
    labels = np.array([0, 0, 0], np.uint8)
    np.testing.assert_allclose(jax.jit(softmax_cross_entropy_loss)(logits, labels), want, rtol=2e-6)
    np.testing.assert_allclose(jax.nn.log_softmax(jnp.asarray(logits))[:, 0], -np.array(want), rtol=1e-4)


def test_a_large_margin_keeps_its_loss_and_its_gradient():
    """Of margin m over one other class: log(1 + e^-m), gradient -+1 / (1 + e^m); a class ruled out takes no part."""
    run = jax.jit(jax.vmap(jax.value_and_grad(softmax_cross_entropy_loss), (0, None)))
    margins = np.array([-60.0, 0.0, 20.0, 60.0])
    logits = np.stack([margins, 0 * margins, 0 * margins - np.inf], 1).astype(np.float32)
    value, slope = run(logits, 0)
    np.testing.assert_allclose(value, np.logaddexp(0, -margins), rtol=1e-5)
    wrong = 1 / (1 + np.exp(margins))
    np.testing.assert_allclose(slope, np.stack([-wrong, wrong, 0 * wrong], 1), rtol=1e-5)
    # The only class, and one that is ruled out itself.
    value, slope = run(np.float32([[2, -np.inf, -np.inf], [-np.inf, 1, 2], [-np.inf, -np.inf, 2]]), 0)
    np.testing.assert_array_equal(value, [0, np.inf, np.inf])
    assert np.isfinite(slope).all()
    assert np.isnan(softmax_cross_entropy_loss(jnp.array([0.0, jnp.nan]), 0))
