"""K-means: by hand, as scikit-learn from the same start, on digits, and with centers that nobody is near."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dlcore.classic_ml import kmeans as module
from dlcore.classic_ml.kmeans import kmeans, kmeans_plus_plus, lloyd, nearest_center
from dlcore.data.digits import digits

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")
X, XT = GOLDENS["data/X"], GOLDENS["data/Xt"]


@pytest.mark.covers("DD-23")
def test_one_iteration_by_hand():
    # 0, 1 | 5, 9 from centers 0, 5: inertia 0 + 1 + 0 + 16 = 17; from their means .5 and 7: .25 + .25 + 4 + 4 = 8.5
    found = lloyd(np.array([[0.0], [1], [5], [9]]), np.array([[0.0], [5]]), max_iterations=5)
    np.testing.assert_allclose(found.centers, [[0.5], [7]])
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1])
    np.testing.assert_allclose(found.history, [17, 8.5, 8.5, 8.5, 8.5, 8.5])
    assert float(found.inertia) == 8.5
    assert (int(found.num_iterations), int(found.reseeded)) == (2, 0)  # the second moves nothing


@pytest.mark.slow
@pytest.mark.covers("DD-23")
def test_lloyd_is_scikit_learns():
    """The case `kmeans` of ml_sklearn: Lloyd from the first rows, to convergence."""
    with jax.enable_x64(True):
        found = lloyd(X, X[:3], block=7)
        labels, _ = nearest_center(XT, found.centers)
        np.testing.assert_allclose(found.centers, GOLDENS["kmeans/out.centers"], rtol=1e-9)
        np.testing.assert_array_equal(found.labels, GOLDENS["kmeans/out.labels"])
        assert float(found.inertia) == pytest.approx(float(GOLDENS["kmeans/out.inertia"]), rel=1e-10)
        assert int(found.num_iterations) == int(GOLDENS["kmeans/out.n_iter"])
        np.testing.assert_array_equal(labels, GOLDENS["kmeans/out.predict"])


@pytest.mark.slow
@pytest.mark.covers("DD-23")
def test_digits():
    from sklearn.metrics import adjusted_rand_score

    images, labels = (np.concatenate([digits(s).arrays[k] for s in ("train", "test")]) for k in ("image", "label"))
    found = kmeans(jax.random.key(0), images.reshape(-1, 64), 10, restarts=10)
    assert float(found.inertia) <= 4551.5 * 1.02
    assert adjusted_rand_score(labels, np.asarray(found.labels)) >= 0.6
    assert np.diff(found.history).max() <= 1e-6 * found.inertia
    assert found.history[0] > found.history[-1] == found.inertia


@pytest.mark.slow(unless=["0", "1"])
@pytest.mark.covers("DD-23")
@pytest.mark.parametrize("seed", range(5))
def test_the_inertia_never_rises_even_where_centers_start_empty(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 3))
    far = np.concatenate([x[:4], 100 + rng.normal(size=(3, 3))])  # three centers that no point is near
    found = lloyd(x, far)
    assert np.diff(found.history).max() <= 1e-5 * found.history[0]
    assert int(found.reseeded) >= 3
    assert len(np.unique(found.labels)) == 7
    # the fixed point: each center is the mean of its points, each point is with its nearest center
    for k in range(7):
        np.testing.assert_allclose(found.centers[k], x[np.asarray(found.labels) == k].mean(0), atol=1e-5)
    nearest = np.square(x[:, None] - np.asarray(found.centers)[None]).sum(-1).argmin(1)
    np.testing.assert_array_equal(found.labels, nearest)


def test_a_center_too_many_for_the_points_stays_and_is_not_reseeded_for_ever():
    found = lloyd(np.array([[0.0], [0], [3]]), np.array([[0.0], [3], [9]]), max_iterations=20)
    assert float(found.inertia) == 0
    assert (int(found.num_iterations), int(found.reseeded)) == (1, 0)


@pytest.mark.covers("DD-23")
def test_the_best_of_several_runs_finds_both_heaps():
    """0, 2 and 10, 14, in 2-D at (.., 1): means 1 and 12, inertia 1 + 1 + 4 + 4 = 10, however a run starts."""
    x = np.array([[0.0, 1], [10, 1], [2, 1], [14, 1]])
    found = kmeans(jax.random.key(0), x, 2, restarts=4, max_iterations=7)
    order = np.asarray(found.centers[:, 0]).argsort()
    np.testing.assert_allclose(np.asarray(found.centers)[order], [[1, 1], [12, 1]], rtol=1e-5)
    assert (np.asarray(found.labels) == order[[0, 1, 0, 1]]).all()
    assert float(found.inertia) == pytest.approx(10)
    assert len(found.history) == 8


def test_the_second_center_is_far_with_the_chance_of_its_squared_distance():
    """From 0 the points 1 and 3 are 1 and 9 away: 3 follows nine times in ten, with a deviation of .012 of 600."""
    line, keys = np.array([[0.0], [1], [3]]), jax.random.split(jax.random.key(1), 1800)
    starts = jax.jit(jax.vmap(lambda key: kmeans_plus_plus(key, line, 2)))(keys)[:, :, 0]
    first, second = np.asarray(starts).T
    assert np.bincount(first.astype(int), minlength=4)[[0, 1, 3]].min() > 500
    assert (second[first == 0] == 3).mean() == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
def test_k_means_plus_plus_prefers_what_is_far():
    # two heaps: after one of them, the squared distance to its own points is 0, so the other heap is always chosen
    x = np.repeat([[0.0, 0], [5, 5]], [30, 2], axis=0)
    starts = jax.jit(jax.vmap(lambda key: kmeans_plus_plus(key, x, 2)))(jax.random.split(jax.random.key(0), 50))
    np.testing.assert_array_equal(np.sort(starts[:, :, 0], 1), np.tile([0.0, 5], (50, 1)))
    # 1 and 3 away from 0: the second center is 3 nine times in ten
    line, keys = np.array([[0.0], [1], [3]]), jax.random.split(jax.random.key(1), 4000)
    starts = jax.jit(jax.vmap(lambda key: kmeans_plus_plus(key, line, 2)))(keys)[:, :, 0]
    second = np.asarray(starts[:, 1])[np.asarray(starts[:, 0]) == 0]
    assert (second == 3).mean() == pytest.approx(0.9, abs=0.03)


def test_far_from_zero_nothing_cancels():
    """Four points in blocks of at most three."""
    x = (np.array([[0.0], [1], [5], [9]]) + 1e4).astype(np.float32)
    assert float(lloyd(x, x[[0, 2]], block=3).inertia) == pytest.approx(8.5, rel=1e-3)
    labels, distances = nearest_center(x, x[[0, 2]], block=3)
    np.testing.assert_array_equal(labels, [0, 0, 1, 1])
    np.testing.assert_array_equal(distances, [0, 1, 0, 16])


def test_bad_arguments():
    key, x = jax.random.key(0), np.zeros((3, 2))
    assert kmeans_plus_plus(key, x + 7, 1).tolist() == [[7, 7]]
    with pytest.raises(ValueError, match="restarts=0: too small; allowed: at least 1"):
        kmeans(key, x, 2, restarts=0)
    with pytest.raises(ValueError, match="max_iterations=0:"):
        lloyd(x, x, max_iterations=0)
    for function in (lloyd, nearest_center):
        with pytest.raises(ValueError, match="block=0:"):
            function(x, x, block=0)
    with pytest.raises(ValueError, match="x: has values that are not finite"):
        kmeans(key, np.array([[np.nan]]), 1)


@pytest.mark.slow(unless=["1-2", "7-33"])
@pytest.mark.parametrize("num_centers", [2, 3, 33])
@pytest.mark.parametrize("dim", [1, 2, 7])
def test_every_point_has_its_nearest_center(dim, num_centers):
    """Of 300 points on a line 61 had the other of two centers: XLA rounded each distance in two ways, for the minimum
    and for the comparison with it. Compiled as outside of these tests, which leave LLVM's optimization out."""
    x = np.random.default_rng(0).normal(size=(300, dim)).astype(np.float32)
    optimized = {"xla_backend_optimization_level": 3}
    labels, distance = module._nearest_center.lower(x, x[:num_centers], 1024).compile(optimized)(x, x[:num_centers])
    true = np.square(x[:, None].astype(np.float64) - x[:num_centers]).sum(-1)
    np.testing.assert_allclose(true[np.arange(300), labels], true.min(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distance, true.min(1), rtol=1e-4, atol=1e-5)


def test_two_far_groups_are_clustered_as_in_scikit_learn():
    """Unit squares at x = -1e4 and 1e4, with 20 points at each corner; no center serves both in |c|^2 - 2 x·c."""
    from sklearn.cluster import KMeans

    corners = np.array([[far + i, j] for far in (-1e4, 1e4) for i in (0, 1) for j in (0, 1)])
    x = (corners[:, None] + np.random.default_rng(0).normal(0, 0.1, (8, 20, 2))).reshape(-1, 2)
    theirs = KMeans(8, init=corners, n_init=1).fit(x)
    for points in (x, x.astype(np.float32), x.astype(np.float32) + np.float32(5e4)):
        starts = corners + (5e4 if points[0, 0] > 0 else 0)
        np.testing.assert_array_equal(nearest_center(points, starts, block=64)[0], np.repeat(np.arange(8), 20))
        found = lloyd(points, starts)
        np.testing.assert_array_equal(found.labels, theirs.labels_)
        assert float(found.inertia) == pytest.approx(theirs.inertia_, rel=0.02)
    assert float(kmeans(jax.random.key(0), x, 8).inertia) == pytest.approx(theirs.inertia_, rel=0.01)


def test_offsets_that_float32_cannot_hold_are_subtracted_first():
    """Milliseconds since 1970, as float64 and int64: float32 has steps of 131072 there."""
    x = np.array([[0.0], [1], [50], [51]])
    for moved in (x + 1.7e12, (x + 1.7e12).astype(np.int64)):
        assert float(lloyd(moved, moved[[0, 2]]).inertia) == pytest.approx(1.0)
        np.testing.assert_array_equal(nearest_center(moved, moved[[0, 2]])[0], [0, 0, 1, 1])
        assert sorted(np.asarray(kmeans(jax.random.key(0), moved, 2).labels)[::2]) == [0, 1]


def test_centers_far_from_0_are_means_of_their_points():
    """Two groups 0.2 m apart on a map, where float32 has steps of half a meter."""
    x = 5_782_566.125 + np.array([[0.0], [0.02], [0.2], [0.22]])
    found = kmeans(jax.random.key(0), x, 2, restarts=2)
    np.testing.assert_allclose(np.sort(found.centers, axis=0) - x[0], [[0.01], [0.21]], atol=1e-7)
    labels, distances = nearest_center(x, found.centers)
    np.testing.assert_array_equal(labels, found.labels)
    np.testing.assert_allclose(distances, 1e-4, rtol=1e-4)
    # Outside of int32: k-means++ gives points.
    days = np.array([[1_700_000_000_000], [1_700_086_400_000]])
    np.testing.assert_array_equal(np.sort(kmeans_plus_plus(jax.random.key(0), days, 2), axis=0), days)
