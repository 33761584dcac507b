"""Entropies and divergences: by hand, against scipy, and at the corners of the simplex."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcore.losses import consistency_loss, cross_entropy, entropy, entropy_loss, kl_divergence, kl_divergence_loss
from dlcore.rl.distributions import Categorical


def pair(seed, classes=5):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=2)


@pytest.mark.covers("LO-06")
def test_kl_by_hand():
    # 0.5 log(0.5 / 0.9) + 0.5 log(0.5 / 0.1) = -0.293893 + 0.804719; the other way 0.9 log 1.8 + 0.1 log 0.2.
    even, skewed = jnp.array([0.5, 0.5]), jnp.array([0.9, 0.1])
    assert float(kl_divergence(even, skewed)) == pytest.approx(0.510826, abs=1e-6)
    assert float(kl_divergence(skewed, even)) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2), abs=1e-6)


@pytest.mark.covers("LO-06")
@given(st.integers(0, 10_000))
def test_kl_equals_scipy_and_is_zero_for_equals_alone(seed):
    p, q = pair(seed)
    with jax.enable_x64(True):
        assert float(kl_divergence(p, q)) == pytest.approx(stats.entropy(p, q), rel=1e-9)
        assert float(kl_divergence(p, q)) > 0
        assert float(kl_divergence(p, p)) == 0
        assert float(kl_divergence_loss(jnp.log(q) + 3, p)) == pytest.approx(stats.entropy(p, q), rel=1e-9)


@pytest.mark.covers("LO-05")
@given(st.integers(0, 10_000))
def test_cross_entropy_is_entropy_and_divergence(seed):
    p, q = pair(seed)
    with jax.enable_x64(True):
        assert float(cross_entropy(p, q)) == pytest.approx(float(entropy(p) + kl_divergence(p, q)), abs=1e-9)
        assert float(cross_entropy(p, q)) == pytest.approx(-(p * np.log(q)).sum(), abs=1e-9)


@pytest.mark.covers("LO-05")
def test_cross_entropy_is_least_where_q_is_p():
    """Of all softmax(s), the slope is softmax(s) - p: 0 at p."""
    p = np.float32(pair(0)[0])
    slope = jax.jit(jax.grad(lambda s: cross_entropy(p, jax.nn.softmax(s))))(np.log(p))
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    others = np.float32([pair(seed)[1] for seed in range(5)])
    costs, least = jax.jit(lambda q: (cross_entropy(np.tile(p, (5, 1)), q), entropy(p)))(others)
    assert (np.asarray(costs) > least).all()


@pytest.mark.covers("LO-21")
def test_entropy_of_equal_and_of_certain_classes():
    for classes in (2, 10):
        assert float(entropy_loss(jnp.full(classes, 7.0))) == pytest.approx(math.log(classes), rel=1e-6)
        assert float(entropy(jnp.full(classes, 1 / classes))) == pytest.approx(math.log(classes), rel=1e-6)
    assert float(entropy(jnp.array([0.0, 1, 0]))) == 0
    assert float(entropy_loss(jnp.array([0.0, 1e4, 0]))) == 0
    assert float(entropy_loss(jnp.array([-jnp.inf, 0, 0]))) == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.covers("LO-21")
def test_descent_on_the_entropy_makes_a_prediction_sure():

    @jax.jit
    def run(scores):
        value, slope = jax.value_and_grad(entropy_loss)(scores)
        p = jax.nn.softmax(scores)
        return value, entropy(p), p.max(), jax.nn.softmax(scores - slope).max()

    value, same, before, after = map(float, run(np.float32([0, 0.2, -0.1])))
    assert after > before
    # from probabilities it is the same number
    assert value == pytest.approx(same, rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("LO-06", "LO-05")
def test_zeros_cost_nothing_or_everything_and_have_finite_gradients():
    sure, even, wrong = jnp.array([1.0, 0]), jnp.array([0.5, 0.5]), jnp.array([0.0, 1])
    assert float(kl_divergence(sure, even)) == pytest.approx(math.log(2), rel=1e-6)
    assert float(kl_divergence(sure, sure)) == 0
    assert float(kl_divergence(even, sure)) == float(cross_entropy(sure, wrong)) == math.inf
    for f in (kl_divergence, cross_entropy, lambda p, q: entropy(p), lambda p, q: kl_divergence_loss(q, p)):
        for p in (sure, even, wrong, jnp.zeros(2)):
            for q in (sure, even):
                assert all(np.isfinite(g).all() for g in jax.grad(f, (0, 1))(p, q))


def test_a_class_that_is_ruled_out_costs_nothing_and_gives_no_nan():
    """Logits (0, 0, -inf): the entropy is log 2; the divergence from (1/2, 1/2, 0) is 0, and from (1, 0, 0) log 2."""
    logits = np.float32([0, 0, -np.inf])
    cases = (
        (entropy_loss, math.log(2)),
        (lambda x: Categorical(x).entropy(), math.log(2)),
        (lambda x: kl_divergence_loss(x, np.float32([0.5, 0.5, 0])), 0),
        (lambda x: consistency_loss(x, logits, threshold=0.0), 0),
        (lambda x: kl_divergence_loss(x, np.float32([1, 0, 0])), math.log(2)),
    )
    found = jax.jit(lambda x: [jax.value_and_grad(loss)(x) for loss, _ in cases])(logits)
    for (value, gradient), (_, want) in zip(found, cases, strict=True):
        assert float(value) == pytest.approx(want, abs=1e-6)
        assert np.isfinite(gradient).all()
    # d KL / d logits = softmax - target.
    np.testing.assert_allclose(found[-1][1], [-0.5, 0.5, 0], atol=1e-6)
