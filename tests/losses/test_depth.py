"""Depth and normal losses against the row's formulas by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import scale_invariant_depth_loss, surface_normal_loss

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
    with pytest.raises(ValueError, match="target"):
        scale_invariant_depth_loss(jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, 4)))


@pytest.mark.covers("TD-03")
def test_the_normal_loss_is_one_minus_the_cosine():
    x = np.array([[2.0, 0, 0], [0, 3, 0], [1, 1, 0], [-1, 0, 0], [0, 0, 0], [0.1, 0, 0]], np.float32)
    y = np.tile(np.array([5.0, 0, 0], np.float32), (6, 1))
    np.testing.assert_allclose(jax.jit(surface_normal_loss)(x, y), [0, 1, 1 - np.sqrt(0.5), 2, 1, 0], atol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(lambda x: surface_normal_loss(x, y).sum()))(x)).all()
