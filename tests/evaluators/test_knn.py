"""Neighbors by hand, against a plain loop, and the evaluator in whatever batches."""

import numpy as np
import pytest

from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.source import Source
from dlcore.evaluators.knn import knn, knn_predict


def test_weights_by_hand():
    bank = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    labels = np.array([0, 1, 1])
    query = np.array([[2.0, 1.0]])  # cosines 2/sqrt 5 = .894 with class 0, 1/sqrt 5 = .447 with each of class 1
    # At tau = 1 the two of class 1 win (2 e^.447 = 3.13 > e^.894 = 2.45), at tau = .1 the nearest does.
    assert knn_predict(bank, labels, query, 3, 1.0) == [1]
    assert knn_predict(bank, labels, query, 3, 0.1) == [0]
    assert knn_predict(bank, labels, query, 1, 1.0) == [0]


def test_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    bank, queries, labels = rng.normal(size=(40, 5)), rng.normal(size=(30, 5)), rng.integers(0, 4, 40)

    def one(x):
        s = bank @ x / np.linalg.norm(bank, axis=1) / np.linalg.norm(x)
        near = np.argsort(-s)[:7]
        return np.argmax([np.exp(s[near[labels[near] == c]] / 0.2).sum() for c in range(4)])

    np.testing.assert_array_equal(knn_predict(bank, labels, queries, 7, 0.2), [one(x) for x in queries])


def test_degenerate_and_bad_input():
    zeros = np.zeros((3, 2))
    np.testing.assert_array_equal(knn_predict(zeros, np.array([2, 2, 1]), zeros, 3, 1e-3), [2, 2, 2])
    ones = np.ones((3, 2))
    assert knn_predict(ones, np.array([0, 1, 1]), ones[:1], 3, 1e-3) == [1], "e^1000 is too large a number"
    with pytest.raises(ValueError, match=r"k=4: out of range; allowed: 1 to 3"):
        knn_predict(zeros, np.zeros(3, int), zeros, 4)
    with pytest.raises(ValueError, match="labels=-1: no class; allowed: integers from 0"):
        knn_predict(zeros, np.array([0, -1, 1]), zeros, 1)
    with pytest.raises(ValueError, match="labels=float64: no class"):
        knn_predict(zeros, np.zeros(3), zeros, 1)


@pytest.mark.parametrize("size", [3, 100])
def test_the_evaluator_does_not_depend_on_batches(size):
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    x = rng.normal(size=(40, 3)) + 5 * np.eye(3)[label]
    part = Source({"x": x, "label": label})
    source = bank_and_queries(part.take(30), part.subset(np.arange(30, 40)))
    evaluator = knn(source, k=30, name="near")
    acc = None
    for start in range(0, 40, size):
        rows = source[slice(start, start + size)]
        acc = evaluator.add(acc, {"features": rows["x"]}, rows)
    assert evaluator.finish(acc) == {"near": 1.0}
    with pytest.raises(ValueError, match="k=31: out of range; allowed: 1 to 30, the size of the bank"):
        knn(source, k=31).finish(acc)
    assert (evaluator.source, evaluator.names) == (source, ("near",))


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"queries=\(2, 3\): another width than the bank; allowed: \[M, 2\]"):
        knn_predict(np.zeros((3, 2)), np.zeros(3, int), np.zeros((2, 3)), 1)
    for k in (1, 3):
        assert knn_predict(np.ones((3, 2)), np.ones(3, int), np.ones((1, 2)), k) == [1]
    with pytest.raises(ValueError, match="k=0: out of range; allowed: 1 to 3"):
        knn_predict(np.zeros((3, 2)), np.zeros(3, int), np.zeros((2, 2)), 0)


def test_the_temperature_of_the_evaluator_weighs_the_neighbors():
    """As by hand above: at tau = 1 two farther neighbors win, at tau = 0.1 the nearest."""
    rows = {"label": np.array([0, 1, 1, 0]), "bank": np.array([1, 1, 1, 0])}
    features = np.array([[1.0, 0], [0, 1], [0, 2], [2, 1]])
    for temperature, accuracy in ((1.0, 0), (0.1, 1)):
        evaluator = knn("rows", k=3, temperature=temperature, key="z")
        assert evaluator.finish(evaluator.add(None, {"z": features}, rows)) == {"knn": accuracy}


@pytest.mark.parametrize("length", [1e-30, 1e-20, 1e20])
def test_features_of_any_length_have_a_direction(length):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    mixed = np.where(np.arange(20)[:, None] % 2, np.float32(length) * x, x)
    np.testing.assert_array_equal(knn_predict(mixed, np.arange(20), x, 1), np.arange(20))


def test_nearly_parallel_features_keep_their_neighbors():
    """Features with an offset of 1e4: their cosines differ by 1e-8, less than float32 holds."""
    x = (1e4 + np.random.default_rng(0).normal(size=(20, 8))).astype(np.float32)
    np.testing.assert_array_equal(knn_predict(x, np.arange(20), x, 1), np.arange(20))
