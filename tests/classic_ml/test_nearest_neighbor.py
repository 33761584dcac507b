"""k nearest neighbors against scikit-learn, a plain search, worked numbers, and a bound on memory."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml import nearest_neighbor as knn
from dlcore.data.digits import digits

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")
CASES = json.loads(str(GOLDENS["meta"]))["cases"]
KS = (1, 3, 5, 10, 20, 50, 100)


def data():
    train, test = (digits(split).arrays for split in ("train", "test"))
    return train["image"], train["label"], test["image"], test["label"]


def plain_search(rows, queries, k, distance):
    """One pair after the other, equal distances in the order of the examples."""
    table = np.array([[distance(q, r) for r in rows] for q in queries])
    return np.sort(table, 1)[:, :k], np.argsort(table, 1, kind="stable")[:, :k]


def cosine(a, b):
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


DISTANCES = {"l1": lambda a, b: np.abs(a - b).sum(), "l2": lambda a, b: np.sqrt(((a - b) ** 2).sum()), "cosine": cosine}


@pytest.mark.covers("DD-04")
def test_distances_are_worked_numbers():
    """(3, 4) from (0, 0): 3 + 4, the root of 9 + 16, no angle; from (4, 3): 1 + 1, the root of 2, 1 - 24/25."""
    query, rows = jnp.array([3.0, 4.0]), jnp.array([[0.0, 0.0], [4.0, 3.0]])
    np.testing.assert_allclose(knn.l1_distance(query, rows), [7, 2], rtol=1e-6)
    np.testing.assert_allclose(knn.l2_distance(query, rows), [5, 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(knn.cosine_distance(query, rows), [1, 0.04], rtol=1e-5)


@pytest.mark.covers("DD-02", "DD-03")
@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("knn.")])
def test_neighbors_are_scikit_learns(case):
    k, metric = (CASES[case]["args"][key] for key in ("k", "metric"))
    metric = {"manhattan": "l1", "euclidean": "l2"}[metric]
    x, y, queries = (GOLDENS[f"data/{name}"] for name in ("X", "y", "Xt"))
    distances, positions = knn.nearest(x, queries, k, metric)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, GOLDENS[f"{case}/out.dist"], rtol=1e-12)
    np.testing.assert_array_equal(positions, GOLDENS[f"{case}/out.index"])
    predicted = knn.predict(knn.train(x, y, k=k, metric=metric), queries)
    np.testing.assert_array_equal(predicted, GOLDENS[f"{case}/out.pred"])


@pytest.mark.slow(unless=["l2"])
@pytest.mark.covers("DD-02", "DD-03")
@pytest.mark.parametrize(
    ("metric", "expected"),
    [("l1", {1: 0.952, 3: 0.958}), ("l2", {1: 0.960, 3: 0.968, 5: 0.966, 10: 0.956, 20: 0.954, 50: 0.926, 100: 0.886})],
)
def test_accuracies_on_digits(metric, expected):
    images, labels, test_images, test_labels = data()
    predicted = knn.predict_for_each_k(knn.train(images, labels, metric=metric), test_images, KS)
    accuracy = dict(zip(KS, (predicted == test_labels).mean(1), strict=True))
    assert {k: accuracy[k] for k in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.covers("DD-03")
def test_predictions_are_scikit_learns_on_digits_and_noise():
    """A little noise, because scikit-learn leaves open which of two equal distances is nearer."""
    from sklearn.neighbors import KNeighborsClassifier

    images, labels, test_images, _ = data()
    rng = np.random.default_rng(0)
    images, test_images = (x.reshape(len(x), -1) + rng.normal(0, 0.01, (len(x), 64)) for x in (images, test_images))
    for metric, theirs in (("l1", "manhattan"), ("l2", "euclidean"), ("cosine", "cosine")):
        ours = knn.predict_for_each_k(knn.train(images, labels, metric=metric), test_images, (1, 5))
        for k, predicted in zip((1, 5), ours, strict=True):
            oracle = KNeighborsClassifier(k, metric=theirs, algorithm="brute").fit(images, labels)
            np.testing.assert_array_equal(predicted, oracle.predict(test_images))


@pytest.mark.slow
@pytest.mark.covers("DD-02")
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_training_images_are_classified_without_error(metric):
    images, labels, *_ = data()
    assert (knn.predict(knn.train(images, labels, metric=metric), images) == labels).all()


@pytest.mark.slow(only=["l2-1-3-1", "l2-70-5-3", "l1-*"])
@pytest.mark.covers("DD-02", "DD-03")
@pytest.mark.parametrize(
    ("metric", "n", "m", "k"),
    [("l2", 1, 3, 1), ("l2", 9, 4, 9), ("l2", 70, 5, 3), *((metric, 150, 11, 40) for metric in DISTANCES)],
)
def test_every_size_equals_a_plain_search(monkeypatch, metric, n, m, k):
    """Blocks of 64 examples and 4 queries, so that several are used and the last reaches back.

    The blocks are those of every metric; all sizes are tried with one of them.
    """
    monkeypatch.setattr(knn, "_ROWS", 64)
    monkeypatch.setattr(knn, "_QUERIES", 4)
    knn.search.clear_cache()
    rng = np.random.default_rng(n)
    rows, queries = rng.normal(size=(n, 6)), rng.normal(size=(m, 6))
    distances, positions = knn.nearest(rows, queries, k, metric)
    knn.search.clear_cache()
    expected, order = plain_search(rows, queries, k, DISTANCES[metric])
    np.testing.assert_allclose(distances, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(positions, order)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_of_equal_distances_the_earlier_example_is_nearer(metric):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (200, 4)).astype(np.float32)  # 16 different points, each a dozen times
    _, positions = knn.nearest(rows, rows[:20], 5, metric)
    np.testing.assert_array_equal(positions, plain_search(rows, rows[:20], 5, DISTANCES[metric])[1])


def test_more_equal_distances_than_candidates():
    """The nearest is the 33rd, then the 1st, and 62 are equally far: the earliest of them."""
    rows = np.full((64, 1), 3.0)
    rows[32], rows[0] = 0, 1
    np.testing.assert_array_equal(knn.nearest(rows, np.zeros((1, 1)), 5)[1], [[32, 0, 1, 2, 3]])


@pytest.mark.covers("DD-03")
def test_of_equal_votes_the_smaller_label_wins():
    """Votes: 2 and 2 of labels 3 and 1; then 2, 1, 1; then every label once."""
    labels = np.array([[3, 1, 3, 1], [2, 2, 0, 1], [3, 2, 1, 0]])
    np.testing.assert_array_equal(knn.vote(labels, 4), [1, 2, 0])


def test_float32_far_from_the_origin_keeps_its_order():
    """Without the center |a|² = 2e6 has steps of .125 in float32, and all distances are below that."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(0, 0.01, (300, 2)) + 1000).astype(np.float32)
    distances, positions = knn.nearest(rows, rows[:50], 3, "l2")
    expected = plain_search(rows.astype(float), rows[:50].astype(float), 3, DISTANCES["l2"])
    np.testing.assert_array_equal(positions, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-5)


@pytest.mark.parametrize(("rows", "queries"), [("float32", "float64"), ("float64", "float32"), ("uint8", "uint8")])
def test_types_may_differ(rows, queries):
    data = np.random.default_rng(0).integers(0, 256, (30, 3))
    distances, positions = knn.nearest(data.astype(rows), data[:4].astype(queries), 2)
    expected = plain_search(data.astype(float), data[:4].astype(float), 2, DISTANCES["l2"])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-6)
    np.testing.assert_array_equal(positions, expected[1])


@pytest.mark.covers("DD-03")
def test_a_metric_can_be_a_function():
    def largest_difference(query, rows):
        return jnp.abs(rows - query).max(-1)

    rows, queries = np.random.default_rng(0).normal(size=(2, 40, 5))
    distances, positions = knn.nearest(rows, queries, 3, largest_difference)
    expected = plain_search(rows, queries, 3, lambda a, b: np.abs(a - b).max())
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12)
    np.testing.assert_array_equal(positions, expected[1])


@pytest.mark.slow(unless=["l2"])
@pytest.mark.covers("DD-03")
@pytest.mark.parametrize("metric", DISTANCES)
def test_mnist_would_fit_into_two_gibibytes(metric):
    """All distances of 10,000 to 60,000 would take 2.2 GiB; the differences of all pairs 1.7 TiB."""
    rows, queries = (jax.ShapeDtypeStruct((n, 784), jnp.float32) for n in (60_000, 10_000))
    compiled = knn.search.lower(rows, queries, k=100, metric=metric).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**30


def test_bad_input_is_refused():
    images, labels = np.zeros((5, 2, 2)), np.arange(5)
    with pytest.raises(ValueError, match=r"k=6: out of range; allowed: \[1, 5\]"):
        knn.train(images, labels, k=6)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_two_far_groups_have_the_neighbors_of_a_plain_search(dtype):
    """More rows than candidates tie where |a|² - 2 a·b + |b|² is rounded to steps of 64 and more."""
    rng = np.random.default_rng(0)
    x = 20 * rng.normal(size=(400, 2))
    x[:, 0] += 3e5 * np.repeat([-1, 1], 200)
    rows, queries = x.astype(dtype), (x[::8] + rng.normal(size=(50, 2))).astype(dtype)
    distances, positions = knn.nearest(rows, queries, 3)
    expected, order = plain_search(rows.astype(float), queries.astype(float), 3, DISTANCES["l2"])
    np.testing.assert_allclose(distances, expected, rtol=1e-6)
    np.testing.assert_array_equal(positions, order)


def test_small_angles_keep_their_digits():
    """Angles of about .02 and less: 1 - cos has no digit in float32, |u - v|² / 2 has four."""
    x = (1e4 + np.random.default_rng(0).normal(size=(60, 3))).astype(np.float32)
    expected, order = plain_search(x[:40].astype(float), x[40:].astype(float), 1, cosine)
    distances, positions = knn.nearest(x[:40], x[40:], 1, "cosine")
    np.testing.assert_allclose(distances, expected, rtol=0.2)
    assert (positions == order).mean() >= 0.9


@pytest.mark.slow(unless=["1e-30", "1e+20"])
@pytest.mark.parametrize("length", [1e-30, 1e-20, 1.0, 1e20])
def test_cosines_are_those_of_vectors_of_any_length(length):
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    distances, positions = knn.nearest(np.float32(length) * x, x, 1, "cosine")
    np.testing.assert_array_equal(positions[:, 0], np.arange(50))
    np.testing.assert_allclose(distances, 0, atol=1e-6)
    np.testing.assert_allclose(knn.cosine_distance(jnp.float32(length) * x[0], x[:1]), [0], atol=1e-6)


def test_a_vector_of_zeros_is_at_cosine_distance_one():
    distances, _ = knn.nearest(np.array([[0, 0], [1, 1.0]]), np.array([[0, 0], [2, 2], [1, -1.0]]), 2, "cosine")
    np.testing.assert_allclose(distances, [[1, 1], [0, 1], [1, 1]], atol=1e-12)


def test_integers_that_float32_cannot_hold_keep_their_digits():
    rows = np.array([[1_700_000_000_000], [1_700_000_000_007], [1_700_000_000_002]])
    np.testing.assert_array_equal(knn.nearest(rows, rows[:1] + 2, 3)[1], [[2, 0, 1]])
    assert knn.predict(knn.train(rows, [0, 1, 2]), rows + 1).tolist() == [0, 1, 2]
