"""Label propagation and spreading against scikit-learn on two moons, by hand, and what bad input gets."""

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from dlcore.semi_supervised.label_propagation import MOST, extend, propagate


def moons():
    """100 points with labels 5 and 9, five of each known."""
    x, y = make_moons(100, noise=0.1, random_state=0)
    y, known = np.where(y == 1, 9, 5), np.concatenate([np.flatnonzero(y == c)[:5] for c in (0, 1)])
    labels = np.full(100, -1)
    labels[known] = y[known]
    return x, y, labels


@pytest.mark.slow(unless=["spreading-oracle1"])
@pytest.mark.covers("SE-01")
@pytest.mark.parametrize(
    ("method", "oracle"),
    [
        ("propagation", LabelPropagation(gamma=20, max_iter=1000, tol=1e-3)),
        ("spreading", LabelSpreading(gamma=20, alpha=0.2, max_iter=1000, tol=1e-3)),
    ],
)
def test_equals_scikit_learn_on_two_moons(method, oracle):
    x, y, labels = moons()
    found, oracle = propagate(x, labels, method=method), oracle.fit(x, labels)
    np.testing.assert_allclose(found.distributions, oracle.label_distributions_, atol=1e-6)
    assert (found.labels == oracle.transduction_).all()
    assert found.classes.tolist() == [5, 9]
    assert 1 < found.steps < 1000
    assert (found.labels == y).mean() > 0.9
    queries = x[:20] + 0.05
    np.testing.assert_allclose(extend(found, queries), oracle.predict_proba(queries), atol=1e-6)


def test_spreading_overrules_a_wrong_label_and_propagation_keeps_it():
    x, labels = np.linspace(0, 0.1, 5)[:, None], np.array([0, 0, 1, 0, 0])
    assert propagate(x, labels).labels.tolist() == [0, 0, 1, 0, 0]
    assert propagate(x, labels, method="spreading", alpha=0.9).labels.tolist() == [0, 0, 0, 0, 0]
    assert propagate(x, labels, method="spreading", alpha=0.1).labels.tolist() == [0, 0, 1, 0, 0]


def test_one_step_by_hand():
    # Points 0, 1, 2, 3 on a line, gamma = log 2: weights 1, 1/2, 1/16 and 1/512. Point 1 is as near to both labels.
    # Point 3 weighs them by 2^-9 and 2^-1: after one step it has 1 : 256.
    found = propagate(np.array([[0.0], [1], [2], [3]]), [7, -1, 8, -1], gamma=float(np.log(2)), max_steps=1)
    np.testing.assert_allclose(found.distributions, [[1, 0], [0.5, 0.5], [0, 1], [1 / 257, 256 / 257]], atol=1e-12)
    assert found.steps == 1


@pytest.mark.slow
def test_a_point_gets_the_mean_of_all_by_hand():
    """At 0 the points weigh 1, 1/2, 1/16 and 1/512; of label 7 they have 1, 1/2, 0 and 1/257."""
    found = propagate(np.array([[0.0], [1], [2], [3]]), [7, -1, 8, -1], gamma=float(np.log(2)), max_steps=1)
    expected = (1 + 1 / 4 + 1 / 512 / 257) / (1 + 1 / 2 + 1 / 16 + 1 / 512)
    np.testing.assert_allclose(extend(found, np.zeros((1, 1))), [[expected, 1 - expected]], atol=1e-12)


def test_propagation_ends_where_each_point_has_the_mean_of_its_neighbors():
    """F_u = P_uu F_u + P_ul Y_l, which numpy solves; labels stay, whatever their neighbors say."""
    x, labels = np.array([0, 0.1, 0.25, 0.4]), np.array([0, -1, -1, 1])
    weights = np.exp(-20 * np.square(x[:, None] - x))
    p = weights / weights.sum(1, keepdims=True)
    middle = np.linalg.solve(np.eye(2) - p[1:3, 1:3], p[1:3][:, [0, 3]])
    found = propagate(x[:, None], labels, gamma=20.0, tolerance=1e-10)
    np.testing.assert_allclose(found.distributions, [[1, 0], *middle, [0, 1]], atol=1e-8)


@pytest.mark.slow
def test_a_point_out_of_reach_has_no_distribution():
    found = propagate(np.array([[0.0], [0.1], [100]]), [0, 1, -1], method="spreading")
    assert found.distributions[2].tolist() == [0, 0]
    assert np.isfinite(extend(found, np.array([[1e3]]))).all()


def test_bad_input_gets_one_clear_error():
    with pytest.raises(ValueError, match=r"points=5,001: the graph would have N.2 edges; allowed: at most 5,000"):
        propagate(np.zeros((MOST + 1, 1)), np.array([0, 1, -1, -1]))


@pytest.mark.parametrize("method", ["propagation", "spreading"])
def test_two_far_pairs_of_groups_are_scikit_learns_in_float32(method):
    corners = np.array([[far + i, 0] for far in (-1e4, 1e4) for i in (0, 1)])
    x = (corners[:, None] + np.random.default_rng(0).normal(0, 0.1, (4, 20, 2))).reshape(-1, 2)
    labels = np.where(np.arange(80) % 20 == 0, np.arange(80) // 20, -1)
    theirs = {"propagation": LabelPropagation, "spreading": LabelSpreading}[method]().fit(x, labels)
    found = propagate(x.astype(np.float32), labels, method=method)
    np.testing.assert_array_equal(found.labels, theirs.transduction_)
    np.testing.assert_array_equal(extend(found, x.astype(np.float32)).argmax(1), np.arange(80) // 20)
