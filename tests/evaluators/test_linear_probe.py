"""What a line can part and what it cannot, whatever the scale of a feature."""

import numpy as np
import pytest

from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.source import Source
from dlcore.evaluators.linear_probe import linear_probe


def data(n=200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)) * [1.0, 1e-3, 1e3] + [0, 0, 1e4]
    return x, (x[:, 1] > 0).astype(int)


def test_a_line_is_found_at_any_scale():
    x, y = data()
    assert (probe_predict(x[:150], y[:150], x[150:]) == y[150:]).mean() > 0.95


def test_a_circle_is_not():
    x = np.random.default_rng(0).normal(size=(200, 3))  # the shape of `data()`: one compiled program serves both
    y = (np.square(x[:, :2]).sum(1) > 1.4).astype(int)
    assert (probe_predict(x[:150], y[:150], x[150:]) == y[150:]).mean() < 0.7


def test_dead_features_and_bad_input():
    x, y = data()
    x[:, 0] = 0
    assert np.isfinite(probe_predict(x[:150], y[:150], x[150:])).all()
    x, y = data(50)
    with pytest.raises(ValueError, match=r"labels=\[1\]: the only class; allowed: at least two classes"):
        probe_predict(x, np.ones(50, int), x)
    with pytest.raises(ValueError, match=r"labels=\[\]: the only class"):
        probe_predict(x[:0], y[:0], x)
    with pytest.raises(ValueError, match=r"queries=\[0\]: none; allowed: at least 1"):
        probe_predict(x, y, x[:0])


def test_the_evaluator():
    x, y = data()
    part = Source({"x": x, "label": y})
    source = bank_and_queries(part.take(150), part.subset(np.arange(150, 200)))
    evaluator = linear_probe(source, key="z")
    rows = source[slice(None)]
    found = evaluator.finish(evaluator.add(None, {"z": rows["x"]}, rows))
    assert found["probe"] > 0.95


class Recorded:
    """Stands for the library's classifier: it says how it was fitted, and each query's class is its first feature."""

    fits = []

    def __init__(self, **options):
        self.options = options

    def fit(self, bank, labels):
        self.fits.append((self.options, bank, labels.tolist()))

    def predict(self, queries):
        return np.rint(queries[:, 0]).astype(int)


def test_the_library_fits_features_that_are_standardized_by_the_bank(monkeypatch):
    """Columns of means 5, 0 and 7 and deviations 2, a millionth and a half, or 0.7, of it, and 0.

    From a millionth of the largest deviation on a feature is divided by its own, below by 1.
    """
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression", Recorded)
    signs = np.array([-1.0, 1, 1, -1])
    for ratio, scale in ((1.5e-6, 1 / 3e-6), (0.7e-6, 1)):
        bank = np.stack([5 + 2 * signs, 2 * ratio * signs[::-1] * [1, 1, -1, -1], np.full(4, 7.0)], 1)
        found = probe_predict(bank, np.array([1, 0, 2, 0]), np.array([[5.0, 0, 0], [9, 0, 7]]), 0.25, 40)
        options, fitted, labels = Recorded.fits.pop()
        assert (options, labels, found.tolist()) == ({"C": 0.25, "max_iter": 40}, [1, 0, 2, 0], [0, 2])
        np.testing.assert_allclose(fitted, (bank - bank.mean(0)) * [0.5, scale, 1], rtol=1e-9, atol=1e-15)
    probe_predict(bank, np.array([1, 0, 2, 0]), bank, max_iterations=1)
    assert Recorded.fits.pop()[0]["max_iter"] == 1
    rows = {"label": np.array([1, 2, 2, 0]), "bank": np.array([1, 0, 0, 1])}
    evaluator = linear_probe("rows", c=0.5, name="near")
    found = evaluator.finish(evaluator.add(None, {"features": np.array([[0.0], [3], [5], [2]])}, rows))
    assert (found, Recorded.fits[0][0]["C"]) == ({"near": 0.5}, 0.5)  # 3 is 2 deviations from the mean, 5 is 4
    assert (evaluator.source, evaluator.names) == ("rows", ("near",))
