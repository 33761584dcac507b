"""Losses of numbers: by hand, their slopes, and their limits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import gaussian_nll_loss, huber_loss, l1_loss, l2_loss, mse_loss, smooth_l1_loss

X, T = jnp.array([1.0, 2.0, 0.0, -3.0]), jnp.array([1.0, 1.5, 2.0, 1.0])  # errors 0, 0.5, -2, -4


@pytest.mark.covers("LO-08")
def test_squares_by_hand():
    # 0 + 0.25 + 4 + 16 = 20.25, a mean of 5.0625; the slope of the sum is twice the error.
    assert float(l2_loss(X, T)) == 20.25
    assert float(mse_loss(X, T)) == 5.0625
    np.testing.assert_array_equal(jax.grad(l2_loss)(X, T), [0, 1, -4, -8])
    np.testing.assert_array_equal(jax.grad(mse_loss)(X, T), [0, 0.25, -1, -2])
    np.testing.assert_array_equal(mse_loss(X.reshape(2, 2), T.reshape(2, 2)), [0.125, 10])


@pytest.mark.covers("LO-14")
def test_smooth_l1_by_hand():
    # beta 1: 0, 0.125, 1.5, 3.5; beta 2: 0, 0.0625, 1, 3; Huber with delta 2 is twice that.
    assert float(smooth_l1_loss(X, T)) == pytest.approx((0.125 + 1.5 + 3.5) / 4)
    assert float(smooth_l1_loss(X, T, 2.0)) == pytest.approx((0.0625 + 1 + 3) / 4)
    assert float(huber_loss(X, T, 2.0)) == pytest.approx(2 * (0.0625 + 1 + 3) / 4)
    np.testing.assert_allclose(jax.grad(smooth_l1_loss)(X, T) * 4, [0, 0.5, -1, -1])


@pytest.mark.covers("LO-14")
def test_smooth_l1_becomes_l1():
    # (0 + 0.5 + 2 + 4) / 4
    for loss in (l1_loss, lambda x, t: smooth_l1_loss(x, t, 0.0)):
        value, slope = jax.value_and_grad(loss)(X, T)
        assert float(value) == 1.625
        np.testing.assert_allclose(slope, [0, 0.25, -0.25, -0.25])


def test_likelihood_by_hand_and_where_the_variance_vanishes():
    # (log 4 + 3^2 / 4) / 2; least where the variance is the squared error
    loss = jax.jit(jax.value_and_grad(gaussian_nll_loss, (0, 2)))
    mean, target = np.float32([3]), np.zeros(1, np.float32)
    want = (math.log(4) + 9 / 4) / 2
    value, slopes = loss(mean, target, np.float32([4]))
    assert float(value) == pytest.approx(want, rel=1e-6)
    # d / d mean: error / variance; d / d variance: (1 / 4 - 9 / 16) / 2
    assert np.ravel(slopes) == pytest.approx([3 / 4, -5 / 32], rel=1e-6)
    assert float(loss(mean, target, np.float32([9]))[1][1][0]) == pytest.approx(0, abs=1e-7)
    value, slopes = loss(np.ones(1, np.float32), np.ones(1, np.float32), target)
    assert float(value) == pytest.approx(math.log(1e-6) / 2, rel=1e-6)
    assert np.isfinite(slopes).all()
    # one variance an example: errors 0, .5 | -2, -4
    shared = jax.jit(gaussian_nll_loss)(X.reshape(2, 2), T.reshape(2, 2), np.float32([[4], [2]]))
    want = [(math.log(4) + 0.125 / 4) / 2, (math.log(2) + 10 / 2) / 2]
    np.testing.assert_allclose(shared, want, rtol=1e-6)
    assert float(gaussian_nll_loss(mean, target, np.float32([0.25]))) == pytest.approx((math.log(0.25) + 36) / 2)
