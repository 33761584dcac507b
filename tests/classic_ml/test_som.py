"""The self-organizing map: one update by hand, the errors, and that both fall on digits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.som import grid_positions, quantization_error, som, som_batch_update, topographic_error, winners
from dlcore.data.digits import digits


@pytest.mark.covers("DD-27")
def test_one_update_by_hand():
    # a grid of 1 x 2 with prototypes 0 and 10; points 1, 2 and 12. h = e^(-1 / 2) = .6065 between the two, 1 within
    x, w = jnp.array([[1.0], [2], [12]]), jnp.array([[0.0], [10]])
    got = som_batch_update(x, w, grid_positions((1, 2)), 1.0)
    h = np.exp(-0.5)
    np.testing.assert_allclose(got[:, 0], [(3 + 12 * h) / (2 + h), (3 * h + 12) / (2 * h + 1)], rtol=1e-6)
    # without a neighborhood it is an iteration of k-means
    np.testing.assert_allclose(som_batch_update(x, w, grid_positions((1, 2)), 1e-3)[:, 0], [1.5, 12], rtol=1e-6)


@pytest.mark.covers("DD-27")
def test_the_update_is_where_the_online_rule_stands_still():
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((50, 3), (6, 3)))
    positions, sigma = grid_positions((2, 3)), 0.8
    moved = som_batch_update(x, w, positions, sigma)
    best = np.asarray(winners(x, w)[0])
    h = np.exp(-np.square(np.asarray(positions)[:, None] - np.asarray(positions)[best][None]).sum(-1) / (2 * sigma**2))
    online = (h[:, :, None] * (np.asarray(x)[None] - np.asarray(moved)[:, None])).sum(1)
    np.testing.assert_allclose(online, 0, atol=1e-4)


@pytest.mark.covers("DD-27")
def test_the_errors_by_hand():
    # on a line of three: 0, 10, 4 (out of order). .5 is .5 from the first and second nearest to the third: no neighbor
    positions, w = grid_positions((1, 3)), jnp.array([[0.0], [10], [4]])
    x = jnp.array([[0.5], [9], [4]])
    assert float(quantization_error(x, w)) == pytest.approx((0.5 + 1 + 0) / 3)
    assert float(topographic_error(x, w, positions)) == pytest.approx(2 / 3)  # .5 and 4 go from 0 to 2; 9: from 1 to 2
    diagonal = jnp.array([[0.0, 0], [9, 9], [9, 9.5], [1, 1]])  # of a 2 x 2 grid: a diagonal is a neighbor
    assert float(topographic_error(jnp.array([[0.1, 0.1]]), diagonal, grid_positions((2, 2)))) == 0


@pytest.mark.slow
@pytest.mark.covers("DD-27")
def test_both_errors_fall_on_digits():
    x = digits("test").arrays["image"].reshape(-1, 64)
    found = som(jax.random.key(0), x, (8, 8), epochs=15)
    chex.assert_shape(found.prototypes, (8, 8, 64))
    quantization, topographic = np.asarray(found.quantization), np.asarray(found.topographic)
    assert (np.diff(quantization) < 0).all()
    assert quantization[-1] < 0.7 * quantization[0]
    assert topographic[0] > 0.5 > 0.15 > topographic[-1]


def test_a_map_of_two_prototypes_by_hand():
    """Points 0 to 4 and 20 to 24: with a narrow neighborhood both end at the means of the halves, 2 and 22.

    At first both lie near the mean, 12, at a distance of 10 from all points on average; then at (2 + 1 + 0 + 1 + 2) / 5
    = 1.2. Of two prototypes each is the other's neighbor.
    """
    x = np.float32([0, 1, 2, 3, 4, 20, 21, 22, 23, 24])[:, None]
    found = som(jax.random.key(0), x, (1, 2), epochs=2, sigma=(0.2, 0.1))
    np.testing.assert_allclose(np.sort(found.prototypes[0, :, 0]), [2, 22], atol=1e-3)
    np.testing.assert_allclose(found.quantization, [10, 1.2, 1.2], rtol=0.02)
    np.testing.assert_array_equal(found.topographic, [0, 0, 0])


def test_a_map_starts_from_noise_of_a_hundredth_and_narrows_to_half_a_step():
    """Points at -1 and 1 are 1 less half the distance of the two prototypes away; they have the deviation 1."""
    x, key = np.repeat(np.float32([[-1], [1]]), 5, 0), jax.random.key(3)
    found = som(key, x, (1, 2), epochs=2)
    first, second = np.asarray(jax.random.normal(key, (2, 1)))[:, 0]
    assert float(found.quantization[0]) == pytest.approx(1 - 0.005 * abs(first - second), abs=1e-6)
    explicit = som(key, x, (1, 2), epochs=2, sigma=(1.0, 0.5))
    np.testing.assert_array_equal(found.prototypes, explicit.prototypes)


def test_bad_arguments():
    key, x = jax.random.key(0), np.zeros((5, 2))
    with pytest.raises(ValueError, match=r"shape=\(1, 1\): too small; allowed"):
        som(key, x, (1, 1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_two_far_groups_have_their_own_winners(dtype):
    """Prototypes 1 apart at -1e4 and 1e4, each with ten points at a tenth of that."""
    w = np.array([[far + i, j] for far in (-1e4, 1e4) for i in (0, 1) for j in (0, 1)])
    x = (w[:, None] + np.random.default_rng(0).normal(0, 0.1, (8, 10, 2))).reshape(-1, 2)
    np.testing.assert_array_equal(winners(x.astype(dtype), w.astype(dtype))[0], np.repeat(np.arange(8), 10))
    assert float(quantization_error(x.astype(dtype), w.astype(dtype))) == pytest.approx(0.125, rel=0.1)
    moved = som_batch_update(x.astype(dtype), w.astype(dtype), grid_positions((2, 4)), 1e-3)
    np.testing.assert_allclose(moved, x.reshape(8, 10, 2).mean(1), atol=2e-3)


def test_integers_and_far_origins_train_as_the_same_points_near_0():
    x = np.random.default_rng(0).integers(0, 100, (40, 2))
    near, far = (som(jax.random.key(0), points, (2, 2), epochs=3) for points in (x, x + 3_000_000_000))
    np.testing.assert_allclose(far.quantization[1:], near.quantization[1:], rtol=1e-3)
