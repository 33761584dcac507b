"""Matching: by hand, and against loops in NumPy."""

import jax
import numpy as np
import pytest

from dlcore.classical_vision.matching import match_descriptors


@pytest.mark.covers("CL-08")
def test_matches_are_those_of_loops():
    rng = np.random.default_rng(0)
    second = rng.normal(size=(30, 8)).astype(np.float32)
    first = np.concatenate([second[:15] + 0.3 * rng.normal(size=(15, 8)), rng.normal(size=(10, 8))]).astype(np.float32)
    found = jax.jit(match_descriptors)(first, second)
    distances = np.linalg.norm(first[:, None] - second, axis=-1)
    order = distances.argsort(1)
    kept = distances[range(25), order[:, 0]] < 0.8 * distances[range(25), order[:, 1]]
    kept &= distances.argmin(0)[order[:, 0]] == np.arange(25)
    assert 5 < kept.sum() < 25
    np.testing.assert_array_equal(found.mask, kept)
    np.testing.assert_array_equal(np.asarray(found.index)[kept], order[kept, 0])
    np.testing.assert_allclose(found.distance, distances.min(1), rtol=1e-4)


@pytest.mark.covers("CL-08")
def test_the_ratio_test_by_hand():
    """Distances of 0 to (1, 2): .5 < .8; to (9, 10) from 0: .9. The third of the second image does not count."""
    first = np.array([[0.0], [100]])
    second = np.array([[1.0], [2], [0], [109], [110]])
    mask = np.array([True, True, False, True, True])
    found = jax.jit(lambda r: match_descriptors(first, second, second_mask=mask))(0)
    np.testing.assert_array_equal(found.index, [0, 3])
    np.testing.assert_array_equal(found.mask, [True, False])


@pytest.mark.covers("CL-08")
def test_rows_that_do_not_count_match_nothing_and_are_no_rivals():
    """0 and 1 are both nearest to 2, and 1 is nearer; where 1 does not count, 0 keeps its match."""
    first, second = np.array([[0.0], [1]]), np.array([[2.0], [9], [11]])
    run = jax.jit(lambda mask, mutual: match_descriptors(first, second, 0.3, mutual, mask), static_argnums=1)
    everything, alone = np.array([True, True]), np.array([True, False])
    np.testing.assert_array_equal(run(everything, True).mask, [False, True])
    np.testing.assert_array_equal(run(everything, False).mask, [True, True])
    found = run(alone, True)
    np.testing.assert_array_equal(found.mask, [True, False])
    np.testing.assert_allclose(found.distance, [2, 0], rtol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="ratio=0: out of range"):
        match_descriptors(np.zeros((3, 2)), np.zeros((3, 2)), 0)
