"""Gram matrices by hand, what they forget, and the scale of each loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import content_loss, gram_matrix, style_loss, total_variation_loss


def maps(seed=0, shape=(4, 5, 3)):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.covers("VI-15")
def test_gram_by_hand():
    # F = [[0 1 2 3], [4 5 6 7]]: F F^T = [[0+1+4+9, 0+5+12+21], [38, 16+25+36+49]]
    features = jnp.arange(8.0).reshape(2, 4).T.reshape(2, 2, 2)
    np.testing.assert_array_equal(gram_matrix(features), [[14, 38], [38, 126]])


@pytest.mark.covers("VI-15")
def test_gram_does_not_know_where():
    shifted = jnp.roll(maps(), (1, 2), (0, 1))
    np.testing.assert_allclose(gram_matrix(shifted), gram_matrix(maps()), rtol=1e-5)
    assert content_loss(shifted, maps()) > 0.1


def test_content_is_a_mean_of_squares():
    # (1^2 + 3^2) / 2 pixels of one channel
    assert content_loss(jnp.array([[[1.0], [2.0]]]), jnp.array([[[0.0], [5.0]]])) == pytest.approx(5.0)


def test_style_by_hand():
    # one pixel, two channels: G - A = [[1, 2], [2, 4]] - 0, squares 1 + 4 + 4 + 16 = 25, over 4 C^2 (HW)^2 = 16
    assert style_loss(jnp.array([[[1.0, 2.0]]]), jnp.zeros((2, 2))) == pytest.approx(25 / 16)


def test_style_of_itself_tiled_is_zero():
    tiled = jnp.tile(maps(), (2, 3, 1))
    assert style_loss(tiled, gram_matrix(maps()), target_size=20) == pytest.approx(0, abs=1e-9)
    assert style_loss(maps(), gram_matrix(maps())) == pytest.approx(0, abs=1e-9)


def test_variation_by_hand():
    # rows differ by (2, 4): squares 4, 16, mean 10; columns differ by 1 and 3: squares 1, 9, mean 5
    loss = jax.jit(total_variation_loss)
    assert loss(np.float32([[[0], [1]], [[2], [5]]])) == pytest.approx(15.0)
    assert loss(np.full((4, 4, 3), 7, np.float32)) == 0
    assert loss(np.float32([[[1]], [[4]]])) == 9  # one difference of 3


def test_losses_of_maps_that_are_no_squares_by_numpy():
    x, y = np.random.default_rng(0).normal(size=(2, 2, 3, 5, 4)).astype(np.float32)  # two images of 3 by 5, 4 channels
    flat = x.reshape(2, 15, 4)
    grams = np.einsum("bnc,bnd->bcd", flat, flat)
    down, across = (np.square(np.diff(x, axis=axis)).mean((1, 2, 3)) for axis in (1, 2))

    @jax.jit
    def run(x, y):
        gram = gram_matrix(y)
        return content_loss(x, y), style_loss(x, gram), style_loss(x, gram, 7), total_variation_loss(x)

    content, same, other, variation = run(x, y)
    np.testing.assert_allclose(content, np.square(x - y).mean((1, 2, 3)), rtol=1e-5)
    gram = np.einsum("bhwc,bhwd->bcd", y, y)
    np.testing.assert_allclose(same, np.square(grams / 15 - gram / 15).sum((1, 2)) / (4 * 16), rtol=1e-5)
    np.testing.assert_allclose(other, np.square(grams / 15 - gram / 7).sum((1, 2)) / (4 * 16), rtol=1e-5)
    np.testing.assert_allclose(variation, down + across, rtol=1e-5)


@pytest.mark.slow
def test_total_variation_of_one_row_or_column():
    row = jnp.array([0.0, 1, 3])[None, :, None]
    assert total_variation_loss(row) == total_variation_loss(row.swapaxes(0, 1)) == (1 + 4) / 2
    assert total_variation_loss(jnp.ones((1, 5, 1))) == 0
    assert total_variation_loss(jnp.ones((1, 1, 2))) == 0
