"""Moments and distances of points far from 0 keep the digits of their spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.som import winners
from dlcore.generative.vq_vae import nearest_codes
from dlcore.losses.contrastive import uniformity_loss
from dlcore.ops import nearest_points, population_moments, squared_distances
from dlcore.ops.replica import REPLICA
from dlcore.optim import by_hand
from dlcore.transfer.prototypical import prototype_logits

FAR = 1e4
"""Steps of float32 there are 1/1024, so that eighths are exact, and squares are 8 apart."""

X = FAR + jnp.array([[0.0, 0], [0.75, 0], [0, 0.375]])
Y = FAR + jnp.array([[0.125, 0], [1, 0], [0, 0.5]])
WANT = np.array([[1 / 64, 1, 0.25], [25 / 64, 1 / 16, 13 / 16], [10 / 64, 1 + 9 / 64, 1 / 64]])
"""(0, 0) to (1/8, 0) is 1/64; (3/4, 0) to (1/8, 0) is (5/8)^2; (0, 3/8) to (1/8, 0) is (1 + 9)/64; and so on."""


def test_variance_of_advantages_by_hand():
    """-1600.5, -1600, -1599.5: the variance is (1/4 + 0 + 1/4) / 3 = 1/6; the mean of squares has a spacing of 1/4."""
    mean, variance = population_moments(jnp.array([-1600.5, -1600, -1599.5]))
    assert float(mean) == -1600
    assert float(variance) == pytest.approx(1 / 6, rel=1e-6)
    mean, variance = population_moments(jnp.array([[1.0, 2], [3, 6]]), 0)
    np.testing.assert_array_equal([mean, variance], [[2, 4], [1, 4]])


def test_moments_of_replicas_are_those_of_all():
    """(0, 1) and (2, 5): mean 2, variance (4 + 1 + 0 + 9) / 4 = 3.5."""
    moments = jax.jit(jax.vmap(lambda x: population_moments(x, 0), axis_name=REPLICA))
    mean, variance = moments(np.float32([[0, 1], [2, 5]]))
    np.testing.assert_allclose([mean, variance], [[2, 2], [3.5, 3.5]])


def test_distances_far_from_0_are_those_near_it():
    @jax.jit
    def call(x, y):
        return squared_distances(x, y), nearest_points(x, y)

    distances, nearest = call(X, Y)
    np.testing.assert_allclose(distances, WANT, rtol=1e-5)
    np.testing.assert_array_equal(nearest, [0, 1, 2])
    gradient = jax.jit(jax.grad(lambda y: squared_distances(X, y)[0, 0]))(Y)
    np.testing.assert_allclose(gradient, [[0.25, 0], [0, 0], [0, 0]], atol=1e-6)


def test_comparisons_of_distances_keep_their_digits():
    @jax.jit
    def call(x, y):
        return prototype_logits(x, y), nearest_codes(x, y), winners(x, y), uniformity_loss(x)

    logits, codes, found, loss = call(X, Y)
    np.testing.assert_allclose(logits, -WANT, rtol=1e-5)
    np.testing.assert_array_equal(codes, [0, 1, 2])
    np.testing.assert_array_equal(found, [[0, 1, 2], [2, 0, 0]])
    # Pairs at squared distances (3/4)^2, (3/8)^2 and their sum, each twice: the log of the mean of e^-2d.
    want = np.log(np.exp(-2 * np.array([36 / 64, 9 / 64, 45 / 64])).mean())
    assert float(loss) == pytest.approx(want, rel=1e-5)


def test_centered_rmsprop_keeps_a_small_variance():
    """Gradients 1000 + (1, -1, 1, ...): the mean settles at 1000 + m, the variance near 1, and the step near g."""
    optimizer = by_hand.rmsprop(1.0, gamma=0.5, eps=0.0, centered=True)
    state, w = optimizer.init(jnp.zeros(())), jnp.zeros(())
    mean = square = np.float64(0)
    for t in range(40):
        g = 1000.0 + (-1) ** t
        update, state = optimizer.update(jnp.float32(g), state, w)
        mean, square = 0.5 * mean + 0.5 * g, 0.5 * square + 0.5 * g * g
    assert float(update) == pytest.approx(-g / np.sqrt(square - mean**2), rel=1e-3)


def test_the_nearest_of_points_on_several_axes():
    """The first of equals; row 0 for a point that is NaN. Distances to a point itself are 0 and never below."""
    y = np.float32([[1, 1], [3, 1], [1, 1], [5, 9]])
    x = np.float32([[[2.9, 1], [2, 1]], [[1, 1], [np.nan, 1]], [[9, 9], [2.1, 0]]])
    np.testing.assert_array_equal(jax.jit(nearest_points)(x, y), [[1, 0], [0, 0], [3, 1]])
    many = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    distances = np.asarray(jax.jit(squared_distances)(many, many[:5]))
    assert (distances >= 0).all()
    np.testing.assert_allclose(distances, ((many[:, None] - many[:5]) ** 2).sum(-1), atol=1e-5)
    with pytest.raises(ValueError, match=r"y.shape=\(0, 2\): no points; allowed: at least one"):
        nearest_points(x, y[:0])


def test_moments_of_some_axes():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    moments = jax.jit(lambda x: [population_moments(x, axes) for axes in (None, 1, (0, 2))])(x)
    for axes, (mean, variance) in zip((None, 1, (0, 2)), moments, strict=True):
        np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variance, x.var(axes), rtol=1e-4)
