"""Nearest neighbors, padding and the unit sphere."""

import chex
import jax
import numpy as np
import pytest

from dlcore import ops


def test_the_nearest_neighbor_is_scipys():
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 30, 3)).astype(np.float32), rng.normal(size=(2, 20, 3)).astype(np.float32)
    mask = np.ones((2, 20))
    mask[1, 7:] = 0
    expected = [cKDTree(q[0]).query(p[0])[1], cKDTree(q[1, :7]).query(p[1])[1]]
    np.testing.assert_array_equal(jax.jit(ops.nearest_neighbors)(p, q, mask), expected)


def test_a_set_goes_into_the_unit_sphere():
    # The mean of 0 and 4 is 2, the farthest point 2 from it; padding does not count.
    points = np.float32([[0, 0, 0], [4, 0, 0], [99, np.nan, 0]])
    got = jax.jit(lambda: ops.normalize_points(points, np.array([1, 1, 0])))()  # its values are known, and checked
    normalize = jax.jit(ops.normalize_points)
    np.testing.assert_allclose(got, [[-1, 0, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(normalize(np.ones((4, 3), np.float32)), 0)
    np.testing.assert_array_equal(normalize(np.ones((1, 3), np.float32)), 0)


def test_padding_and_stacking():
    points, mask = ops.pad_points([np.ones((2, 3)), np.ones((1, 3))], 3)
    np.testing.assert_array_equal(mask, [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(points[..., 0], mask)
    chex.assert_shape(ops.stack_points([np.ones((2, 3)), np.zeros((2, 3))]), (2, 2, 3))


def test_bad_sets_are_one_clear_line():
    with pytest.raises(ValueError, match="clouds: sets of 1 to 2 points; allowed: one length"):
        ops.stack_points([np.ones((2, 3)), np.ones((1, 3))])
    nan = np.full((1, 2, 3), np.nan)
    ops.check_points("points", nan, np.zeros((1, 2)))  # padding may hold anything


def test_neighbors_and_spheres_of_unequal_sets_by_hand():
    p, q = np.float32([[[0, 0], [5, 0]], [[1, 1], [9, 9]]]), np.float32([[[1, 0], [-1, 0], [6, 3]]] * 2)
    mask = np.array([[1, 1, 1], [0, 0, 0]])
    sets = np.float32([[[1, 2], [4, 6], [-2, -2]], [[6, 0], [2, 0], [99, 99]]])
    counts = np.array([[1, 2, 1], [1, 0.5, 0]], np.float32)

    @jax.jit
    def call(p, q):
        return ops.nearest_neighbors(p, q), ops.nearest_neighbors(p, q, mask), ops.normalize_points(sets, counts)

    nearest, counted, got = call(p, q)
    np.testing.assert_array_equal(nearest, [[0, 2], [0, 2]])  # of equals the first
    np.testing.assert_array_equal(counted, [[0, 2], [0, 0]])  # no point counts
    # Means (1, 2) and (4, 0): the farthest are 5 and 2 away.
    np.testing.assert_allclose(got, [[[0, 0], [0.6, 0.8], [-0.6, -0.8]], [[1, 0], [-1, 0], [0, 0]]], atol=1e-6)


def test_sets_are_padded_to_the_longest():
    points, mask = ops.pad_points([np.ones((1, 2)), 2 * np.ones((3, 2))])
    np.testing.assert_array_equal(points[..., 1], [[1, 0, 0], [2, 2, 2]])
    np.testing.assert_array_equal(mask, [[1, 0, 0], [1, 1, 1]])
    assert (points.dtype, mask.dtype, ops.stack_points([np.ones((2, 3), np.float16)]).dtype) == (
        np.float64,
        np.float32,
        np.float32,
    )
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros((2, 3)), np.zeros((4, 3))]
    ops.check_points("p", [np.zeros((2, 3)), np.zeros((2, 3))])


def test_sets_far_from_zero_keep_their_digits_until_they_are_centered():
    rng = np.random.default_rng(0)
    clouds, place = [5 * rng.normal(size=(n, 3)) for n in (20, 7)], np.array([396000, 5782000, 100.0])
    want = [ops.normalize_points(cloud) for cloud in clouds]
    points, mask = ops.pad_points([cloud + place for cloud in clouds])
    for got, n in ((ops.normalize_points(points, mask)[0], 0), (ops.normalize_points(points, mask)[1, :7], 1)):
        np.testing.assert_allclose(got, want[n], atol=1e-6)
        assert got.dtype == np.float32
    stacked = ops.stack_points([clouds[0] + place, clouds[0] - place])
    np.testing.assert_allclose(ops.normalize_points(stacked), [want[0]] * 2, atol=1e-6)
    order = rng.permutation(20)
    np.testing.assert_array_equal(ops.nearest_neighbors(clouds[0][order] + place, clouds[0] + place), order)
    whole = rng.integers(0, 200, (9, 3)).astype(np.uint8)
    np.testing.assert_allclose(ops.normalize_points(whole), ops.normalize_points(np.float32(whole)), atol=1e-6)
