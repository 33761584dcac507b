"""Measures of rankings: scikit-learn's golden, by hand, and ties."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from dlcore.metrics import multilabel_average_precision, ndcg


def test_equal_scikit_learn():
    with np.load("tests/goldens/metrics_sklearn.npz") as golden:
        relevance, score = golden["ranking/in.relevance"], golden["ranking/in.score"]
        assert ndcg(relevance, score) == pytest.approx(float(golden["ranking/out.ndcg"]), rel=1e-10)
        assert ndcg(relevance, score, 3) == pytest.approx(float(golden["ranking/out.ndcg3"]), rel=1e-10)
        mean, each = multilabel_average_precision(golden["multilabel/in.y"], golden["multilabel/in.score"])
        np.testing.assert_allclose(each, golden["multilabel/out.each"], rtol=1e-10)
        assert mean == pytest.approx(float(golden["multilabel/out.macro"]), rel=1e-10)


@pytest.mark.parametrize("k", [None, 2, 4])
def test_ties_are_shared_as_in_scikit_learn(k):
    rng = np.random.default_rng(0)
    relevance, score = rng.integers(0, 3, (6, 7)), rng.integers(0, 3, (6, 7)).astype(float)
    assert ndcg(relevance, score, k) == pytest.approx(ndcg_score(relevance, score, k=k), rel=1e-10)
    truth = (relevance > 0).T
    want = [average_precision_score(t, s) for t, s in zip(truth.T, score, strict=True)]
    np.testing.assert_allclose(multilabel_average_precision(truth, score.T)[1], want, rtol=1e-10)


def test_by_hand():
    # Gains 3, 0, 2 in the order given: 3 + 2 / log2(4) = 4; at best 3 + 2 / log2(3).
    assert ndcg([[3, 0, 2]], [[0.9, 0.5, 0.1]]) == pytest.approx(4 / (3 + 2 / np.log2(3)))
    assert ndcg([[3, 0, 2], [0, 0, 0]], [[0.9, 0.5, 0.1], [3, 2, 1]], 1) == pytest.approx(1 / 2)
    # Right, wrong, right: (1 + 2/3) / 2. No example has the second label.
    mean, each = multilabel_average_precision([[1, 0], [0, 0], [1, 0]], [[0.9, 1], [0.5, 1], [0.1, 1]])
    assert mean == each[0] == pytest.approx(5 / 6)
    assert np.isnan(each[1])
