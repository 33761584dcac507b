"""Barlow Twins: one update by hand, and the loss of planted correlations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.self_supervised import barlow_twins
from tests import siamese_toys as toys


def learner(norm=False, rate=toys.RATE):
    return barlow_twins.learner(**toys.settings(norm, rate), redundancy_weight=0.3)


@pytest.mark.covers("SS-30")
def test_one_update_by_hand():
    params = toys.weights(1)
    built = learner()
    state = toys.state_of(built, params=params)
    views = toys.views(state)

    def correlation(params):
        first, second = (v @ params["w"] for v in views)
        u, v = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (first, second))
        return u.T @ v / len(u)

    def loss(params):
        c = correlation(params)
        return sum((1 - c[i, i]) ** 2 if i == j else 0.3 * c[i, j] ** 2 for i in range(3) for j in range(3))

    toys.check_update(built, state, params, loss, still=("q",), on_diagonal=np.diag(correlation(params)).mean())


@pytest.mark.covers("SS-30")
def test_the_loss_of_planted_projections():
    """Two numbers that are +-1 and independent: C = I, loss 0. Equal numbers: C is all ones, loss 2 lambda."""
    independent = jnp.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    mask = jnp.ones(4)
    correlate = jax.jit(barlow_twins.cross_correlation)
    for scale, shift in ((1.0, 0.0), (7.0, 3.0)):
        c = correlate(independent, scale * independent + shift, mask)
        np.testing.assert_allclose(c, np.eye(2), atol=1e-4)
    assert barlow_twins.barlow_twins_loss(jnp.eye(2), 0.5) == 0
    assert barlow_twins.barlow_twins_loss(jnp.ones((2, 2)), 0.5) == pytest.approx(1.0)
    # All images alike: C = 0, and the loss is D.
    assert barlow_twins.barlow_twins_loss(correlate(jnp.ones((4, 2)), jnp.ones((4, 2)), mask)) == pytest.approx(2)


@pytest.mark.weekly
@pytest.mark.covers("SS-30")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(lambda norm: learner(norm, 0.01), spmd, norm)


def test_small_correlations_beside_a_diagonal_of_1():
    """The squares off the diagonal of 512 features sum to 0.0026, and those on it to 512."""
    correlation = np.full((512, 512), 1e-4, np.float32)
    np.fill_diagonal(correlation, 1)
    loss = barlow_twins.barlow_twins_loss(correlation, 1.0)
    np.testing.assert_allclose(loss, 512 * 511 * 1e-8, rtol=1e-5)
