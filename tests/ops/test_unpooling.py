"""Unpooling: worked blocks, torch's goldens, and pooling undone."""

import functools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.ops import bed_of_nails, max_pool, max_pool_with_indices, max_unpool, nearest_unpool
from tests.derivatives import output_and_gradients

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_pool_resize.npz"
SMALL = [[1.0, 2.0], [3.0, 4.0]]


def image(rows):
    return np.asarray(rows, np.float32)[None, :, :, None]


@functools.partial(jax.jit, static_argnums=1)
def pooled_again(x, window):
    y, indices = max_pool_with_indices(x, window)
    return y, max_pool(x, window, window), max_pool(max_unpool(y, indices, window, size=(6, 7)), window, window)


@pytest.mark.covers("CV-19")
def test_nearest_repeats():
    got, gradient = jax.jit(lambda x: (nearest_unpool(x)[0, :, :, 0], jax.grad(lambda x: nearest_unpool(x).sum())(x)))(
        image(SMALL)
    )
    np.testing.assert_array_equal(got, [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    chex.assert_shape(jax.eval_shape(lambda: nearest_unpool(np.zeros((2, 3, 5), np.int8), (3, 1))), (6, 3, 5))
    np.testing.assert_array_equal(gradient, np.full((1, 2, 2, 1), 4))


@pytest.mark.covers("CV-20")
def test_bed_of_nails_fills_the_top_left():
    got = bed_of_nails(image(SMALL))
    np.testing.assert_array_equal(got[0, :, :, 0], [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
    assert float(got.sum()) == 10  # the sum stays
    chex.assert_shape(bed_of_nails(image(SMALL), (1, 3)), (1, 2, 6, 1))


@pytest.mark.covers("CV-21")
def test_max_unpool_equals_torch():
    data = np.load(GOLDENS)
    assert "max_unpool2d.k2" in json.loads(str(data["meta"]))["cases"]
    x, cotangent, want, gradient = (
        jnp.asarray(data[f"max_unpool2d.k2/{n}"].transpose(0, 2, 3, 1)) for n in ("in.x", "in.cot", "out", "grad.x")
    )

    def there_and_back(x):
        return max_unpool(*max_pool_with_indices(x, 2), 2, size=x.shape[1:3])

    got, got_gradient = output_and_gradients(there_and_back, cotangent, x)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got_gradient, gradient)


@pytest.mark.slow
@pytest.mark.covers("CV-21")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), window=st.sampled_from([(2, 2), (3, 1), (2, 3)]))
def test_pooling_again_gives_the_same(seed, window):
    y, plain, again = pooled_again(
        jnp.asarray(np.random.default_rng(seed).uniform(size=(2, 6, 7, 2)), jnp.float32), window
    )
    np.testing.assert_array_equal(y, plain)
    np.testing.assert_array_equal(again, y)


@pytest.mark.slow
def test_positions_with_padding_strides_and_ties():
    # 3x3 windows at stride 2 over a 4x4 board, padded by one: each names the row * 4 + column of its maximum.
    board = image([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])
    y, indices = max_pool_with_indices(board, 3, 2, 1)
    np.testing.assert_array_equal(y[0, :, :, 0], [[6, 8], [6, 8]])
    np.testing.assert_array_equal(indices[0, :, :, 0], [[5, 7], [5, 7]])
    np.testing.assert_array_equal(max_unpool(y, indices, 3, 2, 1, (4, 4))[0, 1, :, 0], [0, 6, 0, 8])
    _, first = max_pool_with_indices(jnp.zeros((1, 4, 4, 1)), 3, 2, 1)
    np.testing.assert_array_equal(first[0, :, :, 0], [[0, 1], [4, 5]])  # among equals the first, never the padding


@pytest.mark.weekly
def test_infinities_nans_and_integers():
    lowest = jnp.full((1, 2, 2, 1), -jnp.inf)
    y, indices = max_pool_with_indices(lowest, 2, 2, 1)
    assert jnp.isneginf(y).all()
    np.testing.assert_array_equal(indices[0, :, :, 0], [[0, 1], [2, 3]])
    y, indices = max_pool_with_indices(image([[1.0, jnp.nan], [3, 2]]), 2)
    assert jnp.isnan(y).all()
    assert int(indices[0, 0, 0, 0]) == 1
    y, indices = max_pool_with_indices(jnp.arange(4).reshape(1, 2, 2, 1), 2)
    assert (int(y[0, 0, 0, 0]), int(indices[0, 0, 0, 0])) == (3, 3)
    assert y.dtype == jnp.int32


def test_padding_of_one_side():
    """One row above: windows of rows (pad, 0) and (1, 2); one column on the right: columns (0, 1) and (2, pad)."""
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    y, indices = jax.jit(lambda x: max_pool_with_indices(x, 2, padding=((1, 0), (0, 1))))(x)
    np.testing.assert_array_equal(y[0, ..., 0], [[1, 2], [7, 8]])
    np.testing.assert_array_equal(indices[0, ..., 0], [[1, 2], [7, 8]])


def test_windows_of_two_are_the_default():
    """2 x 2 values come from a map of 4 x 4."""
    values = np.float32(SMALL)[None, ..., None]
    indices = np.array([[5, 2], [8, 15]])[None, ..., None]
    want = np.zeros((4, 4))
    want[1, 1], want[0, 2], want[2, 0], want[3, 3] = 1, 2, 3, 4
    np.testing.assert_array_equal(jax.jit(max_unpool)(values, indices)[0, ..., 0], want)
    pooled, found = jax.jit(lambda x: max_pool_with_indices(x, 2))(np.float32(want)[None, ..., None])
    np.testing.assert_array_equal(pooled, values)
    np.testing.assert_array_equal(found, indices)


def test_errors():
    with pytest.raises(ValueError, match="factor=0"):
        nearest_unpool(jnp.zeros((2, 2, 1)), 0)


def test_places_of_the_largest_equal_a_loop():
    """Ties, gaps between the pixels of a window, and padding on one side each, which never wins."""
    x = np.random.default_rng(0).integers(-3, 0, (2, 6, 7, 2)).astype(np.float32)
    x[0, 0, 0, 0], x[1, :, :, 1] = np.nan, -np.inf
    y, indices = jax.jit(lambda x: max_pool_with_indices(x, (2, 3), (3, 2), ((1, 0), (0, 2)), (1, 2)))(x)
    chex.assert_shape(y, (2, 2, 3, 2))
    for n, p, q, c in np.ndindex(*y.shape):
        pixels = [(r, s) for r in range(3 * p - 1, 3 * p + 1) for s in range(2 * q, 2 * q + 5, 2) if r >= 0 and s < 7]
        values = [np.inf if np.isnan(x[n, r, s, c]) else x[n, r, s, c] for r, s in pixels]
        best = pixels[int(np.argmax(values))]
        assert int(indices[n, p, q, c]) == best[0] * 7 + best[1]
        np.testing.assert_array_equal(y[n, p, q, c], x[(n, *best, c)])


def test_unpooling_of_unequal_factors_and_sizes_by_hand():
    """Values return to their indices, channel by channel; sizes of 5 x 6 or 5 x 7 pool to 2 x 3 as well."""
    y = np.arange(1, 13, dtype=np.float32).reshape(1, 2, 3, 2)
    for size in ((5, 6), (5, 7), None):
        height, width = size or (5, 6)
        at = np.random.default_rng(0).permuted(np.tile(np.arange(height * width), (2, 1)), axis=1)[:, :6].T
        got = jax.jit(lambda y, at, size=size: max_unpool(y, at, (3, 2), 2, size=size))(y, at.reshape(1, 2, 3, 2))
        want = np.zeros((height * width, 2))
        for c in range(2):
            want[at[:, c], c] = y[0, ..., c].reshape(-1)
        np.testing.assert_array_equal(got[0], want.reshape(height, width, 2))
    nearest, nails = jax.jit(lambda y: (nearest_unpool(y, (2, 3)), bed_of_nails(y, (2, 3))))(y[0])
    np.testing.assert_array_equal(nearest, y[0].repeat(2, 0).repeat(3, 1))
    np.testing.assert_array_equal(nails[::2, ::3], y[0])
    chex.assert_shape(nails, (4, 9, 2))
    assert nails.sum() == y.sum()
