"""Recall at k by brute force, and the verification ROC by hand and against scikit-learn's goldens."""

import numpy as np
import pytest

from dlcore.metrics import recall_at_k, verification


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_of_equally_near_ones_the_first_are_found(metric):
    """Of 60 the even ones are the query itself: the three nearest are 0, 2 and 4."""
    gallery = np.eye(2)[np.arange(60) % 2]
    found = [recall_at_k(np.eye(2)[:1], [i], 3, gallery, np.arange(60), metric) for i in (0, 2, 4, 6, 8, 1, 58)]
    assert found == [1, 1, 1, 0, 0, 0, 0]


@pytest.mark.covers("ME-12")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3])
def test_recall_by_brute_force(metric, k):
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(12, 4)), rng.normal(size=(9, 4))
    y, z = rng.integers(0, 4, 12), rng.integers(0, 4, 9)

    def distance(a, b):
        return np.linalg.norm(a - b) if metric == "euclidean" else -a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def hit(i, others):
        near = sorted(others, key=lambda o: distance(queries[i], o[0]))[:k]
        return any(label == y[i] for _, label in near)

    want = np.mean([hit(i, list(zip(gallery, z, strict=True))) for i in range(12)])
    assert recall_at_k(queries, y, k, gallery, z, metric) == pytest.approx(want)
    among = [[(queries[j], y[j]) for j in range(12) if j != i] for i in range(12)]
    assert recall_at_k(queries, y, k, metric=metric) == pytest.approx(np.mean([hit(i, among[i]) for i in range(12)]))


@pytest.mark.covers("ME-12")
def test_roc_by_hand():
    # From the top: same .9, different .8, same .7, different .1. Pairs ranked right: 2 + 1 of 4: AUC .75.
    result = verification([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], rates=(0.0, 0.5))
    assert result.auc == 0.75
    assert result.accuracy == 0.75  # above .7 or above .9: three of four are right
    assert result.true_accept_at == {0.0: 0.5, 0.5: 1.0}
    assert result.eer == 0.5
    perfect = verification([3, 2, 1, 0], [1, 1, 0, 0])
    assert (perfect.auc, perfect.accuracy, perfect.eer) == (1, 1, 0)
    # Three pairs of equal score: one step, from (0, 0) to (1, 1), which crosses at a half.
    tied = verification([2, 2, 2], [1, 0, 0], rates=(0.0, 1.0))
    assert (tied.auc, tied.eer, tied.true_accept_at) == (0.5, 0.5, {0.0: 0, 1.0: 1})
    assert tied.accuracy == pytest.approx(2 / 3)


@pytest.mark.covers("ME-12")
@pytest.mark.parametrize("case", ["binary.a", "binary.ties"])
def test_roc_equals_the_golden(case):
    with np.load("tests/goldens/metrics_sklearn.npz") as golden:
        y, score = golden[f"{case}/in.y"], golden[f"{case}/in.score"]
        result = verification(score, y)
        assert result.auc == pytest.approx(float(golden[f"{case}/out.roc_auc"]), abs=1e-6)
        # Independent of scikit-learn: the share of pairs that are ranked right, ties half.
        gap = score[y == 1][:, None] - score[y == 0]
        assert result.auc == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean())
        np.testing.assert_allclose(result.false_accept, golden[f"{case}/out.roc.fpr"], atol=1e-6)
        np.testing.assert_allclose(result.true_accept, golden[f"{case}/out.roc.tpr"], atol=1e-6)


def test_a_query_of_a_later_part_does_not_find_itself():
    """More queries than one table of distances holds: neighbors at a distance of 1, pairs at one of 9."""
    number = np.arange(1100)
    points = (10 * (number // 2) + number % 2)[:, None].astype(float)
    for offset in (0, 1e9):  # whose squares have no digits left for a distance
        assert recall_at_k(points + offset, number // 2, metric="euclidean") == 1
    assert recall_at_k(points, number, metric="euclidean") == 0
    assert recall_at_k(points, number // 1050, metric="euclidean") == 1
    assert recall_at_k(points, number, 1, points[:1], np.array([1099]), metric="euclidean") == 1 / 1100


def test_errors():
    with pytest.raises(ValueError, match="k=3: out of range; allowed: 1 to 2"):
        recall_at_k(np.ones((3, 2)), np.ones(3), 3)


@pytest.mark.covers("ME-12")
def test_the_equal_error_rate_lies_between_thresholds():
    # (false accepts, rejects): (0, 1/2) at .9, (1/3, 1/2) at .6, (1/3, 0) at .4: they cross where 1/3 is accepted
    result = verification([0.9, 0.4, 0.6, 0.1, 0.05], [1, 1, 0, 0, 0])
    assert result.eer == pytest.approx(1 / 3)


@pytest.mark.parametrize("length", [1e-30, 1e-20, 1e20])
def test_vectors_of_any_length_have_a_direction(length):
    """Each query is one of the gallery at another length; every second vector of the gallery is short or long."""
    gallery = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    queries = np.float32(length) * gallery
    mixed = np.where(np.arange(50)[:, None] % 2, queries, gallery)
    assert recall_at_k(queries, np.arange(50), 1, gallery, np.arange(50)) == 1
    assert recall_at_k(gallery, np.arange(50), 1, mixed, np.arange(50)) == 1
