"""Measures of clusters: scikit-learn's golden, by hand, and at the corners."""

import numpy as np
import pytest

from dlcore.metrics import adjusted_rand_index, normalized_mutual_information, silhouette


def test_equal_scikit_learn():
    with np.load("tests/goldens/metrics_sklearn.npz") as golden:
        a, b, x = (golden[f"clustering/in.{name}"] for name in "abX")
        assert adjusted_rand_index(a, b) == pytest.approx(float(golden["clustering/out.ari"]), rel=1e-8)
        assert normalized_mutual_information(a, b) == pytest.approx(float(golden["clustering/out.nmi"]), rel=1e-8)
        assert silhouette(x, a) == pytest.approx(float(golden["clustering/out.silhouette"]), rel=1e-6)


def test_by_hand():
    # Classes 0 0 1 1 in clusters 0 0 1 2: 1 pair together in both, 2 in the classes, 1 in the clusters, of 6.
    # E = 2 1 / 6 = 1/3: (1 - 1/3) / (3/2 - 1/3) = 4/7.
    assert adjusted_rand_index([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(4 / 7)
    # I = log 2, H = log 2 and 1.5 log 2: 2 / 2.5.
    assert normalized_mutual_information([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(0.8)
    # 0, 1 | 5: 0 has a = 1, b = 5: .8; 1 has a = 1, b = 4: .75; 5 is alone: 0.
    assert silhouette([[0.0], [1.0], [5.0]], [7, 7, 2]) == pytest.approx((0.8 + 0.75) / 3)


def test_points_that_lie_together_have_a_silhouette_of_0():
    assert silhouette(np.zeros((4, 1)), [0, 0, 1, 1]) == 0


def test_numbers_of_clusters_do_not_matter():
    a = np.random.default_rng(0).integers(0, 4, 50)
    for measure in (adjusted_rand_index, normalized_mutual_information):
        assert measure(a, (a + 3) % 4 * 10) == pytest.approx(1)
        assert measure(np.zeros(5), np.zeros(5)) == 1
    assert adjusted_rand_index(a, np.arange(50)) == pytest.approx(0)
    assert normalized_mutual_information(a, np.zeros(50)) == pytest.approx(0)
