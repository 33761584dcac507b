"""Depth and normal losses against the row's formulas by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import scale_and_shift_invariant_loss, scale_invariant_depth_loss, surface_normal_loss

RNG = np.random.default_rng(0)


@pytest.mark.covers("TD-02")
def test_the_scale_invariant_loss_is_the_variance_of_log_errors():
    p, g = RNG.uniform(0.5, 3, (2, 2, 3, 4)).astype(np.float32)
    d = np.log(p) - np.log(g)
    loss = jax.jit(scale_invariant_depth_loss)
    for weight in (0.0, 0.5, 1.0):
        want = (d**2).sum((1, 2)) / 12 - weight * d.sum((1, 2)) ** 2 / 144
        np.testing.assert_allclose(loss(np.log(p), g, variance_weight=weight), want, rtol=1e-5)
    # A constant offset of the logarithm is another scale: 7 g costs nothing, and with λ = 1/2 half of ln(7)².
    np.testing.assert_allclose(loss(np.log(7 * g), g, variance_weight=1.0), 0, atol=1e-11)
    np.testing.assert_allclose(loss(np.log(7 * g), g, variance_weight=0.5), np.log(7) ** 2 / 2, rtol=1e-5)


@pytest.mark.covers("TD-01", "TD-02")
def test_a_scaled_depth_map_has_the_same_loss_and_pixels_without_depth_do_not_count():
    p, g = RNG.uniform(0.5, 3, (2, 1, 2, 3)).astype(np.float32)
    loss = jax.jit(scale_invariant_depth_loss)
    np.testing.assert_allclose(loss(np.log(5 * p), g), loss(np.log(p), g), rtol=1e-5)
    holes = np.concatenate([g, [[[0, np.nan, np.inf], [0, -1, 0]]]], 1)
    wide = np.concatenate([np.log(p), np.full((1, 2, 3), 9, np.float32)], 1)
    np.testing.assert_allclose(loss(wide, holes), loss(np.log(p), g), rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: loss(x, holes).sum())(wide)).all()
    one = np.where(np.arange(6).reshape(1, 2, 3) == 4, g, 0)  # a single pixel has no spread, and its own error
    np.testing.assert_allclose(
        [loss(np.log(2 * g), one, variance_weight=w) for w in (1.0, 0.0)], [[0], [np.log(2) ** 2]], atol=1e-6
    )
    with pytest.raises(ValueError, match="target"):
        scale_invariant_depth_loss(jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, 4)))


@pytest.mark.covers("TD-03")
def test_the_normal_loss_is_one_minus_the_cosine():
    x = np.array([[2.0, 0, 0], [0, 3, 0], [1, 1, 0], [-1, 0, 0], [0, 0, 0], [0.1, 0, 0]], np.float32)
    y = np.tile(np.array([5.0, 0, 0], np.float32), (6, 1))
    loss = jax.jit(surface_normal_loss)(x.reshape(2, 3, 3), y.reshape(2, 3, 3))
    np.testing.assert_allclose(loss, [[0, 1, 1 - np.sqrt(0.5)], [2, 1, 0]], atol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(lambda x: surface_normal_loss(x, y).sum()))(x)).all()


def by_hand(p, g, weight, scales):
    """The loss of one map in float64, with s and t of a line fitted by numpy."""
    s, t = np.polyfit(p.ravel(), g.ravel(), 1)
    r = s * p + t - g
    loss = (r**2).sum() / (2 * r.size)
    for k in range(scales):
        q = r[:: 2**k, :: 2**k]
        loss += weight * (np.abs(np.diff(q, axis=0)).sum() + np.abs(np.diff(q, axis=1)).sum()) / q.size
    return loss


@functools.cache
def midas():
    """(loss, gradient) of a prediction [6, 8], a target, a mask and the weight of the gradient term, at two scales."""
    loss = functools.partial(scale_and_shift_invariant_loss, scales=2)
    return jax.jit(jax.value_and_grad(lambda p, g, mask, weight: loss(p, g, mask, weight)))


@pytest.mark.covers("TD-18")
def test_midas_loss_by_hand():
    p, g = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    value, _ = midas()(p, g, np.ones((6, 8)), 0.5)
    np.testing.assert_allclose(value, by_hand(p.astype(float), g.astype(float), 0.5, 2), rtol=1e-5)


@pytest.mark.covers("TD-18")
def test_midas_loss_is_invariant():
    """Doubling a prediction is exact in floats, so the loss is the same number; other maps round."""
    p, g = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(np.float32)
    ones = np.ones((6, 8))
    value, _ = midas()(p, g, ones, 0.5)
    assert midas()(4 * p, g, ones, 0.5)[0] == value
    for other in (-3e9 * p + 2e9, 1e-30 * p):
        np.testing.assert_allclose(midas()(other.astype(np.float32), g, ones, 0.5)[0], value, rtol=1e-5)
    np.testing.assert_allclose(midas()(g, 2 * g + 1, ones, 0.5)[0], 0, atol=1e-6)


@pytest.mark.covers("TD-18")
def test_midas_loss_leaves_out_pixels():
    """Of a mask, and without a finite target: the loss of the rest alone; none counts: 0; gradients are finite."""
    p, g = np.random.default_rng(2).normal(size=(2, 6, 8)).astype(np.float32)
    mask = np.ones((6, 8))
    mask[:, 6] = 0
    holes = g.copy()
    holes[:, 7] = np.nan
    value, gradient = midas()(p, holes, mask, 0.5)
    np.testing.assert_allclose(value, by_hand(p[:, :6].astype(float), g[:, :6].astype(float), 0.5, 2), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[:, 6:])
    assert midas()(p, g, 0 * mask, 0.5)[0] == 0
    constant, slope = midas()(0 * p, g, np.ones((6, 8)), 0.0)
    np.testing.assert_allclose(constant, g.astype(float).var() / 2, rtol=1e-5)
    assert np.isfinite(slope).all()
