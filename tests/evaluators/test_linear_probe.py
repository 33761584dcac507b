"""What a line can part and what it cannot, whatever the scale of a feature."""

import numpy as np
import pytest

from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.source import Source
from dlcore.evaluators.linear_probe import linear_probe, probe_predict


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
    with pytest.raises(ValueError, match="c=0"):
        probe_predict(x, y, x, c=0)
    with pytest.raises(ValueError, match=r"labels=\[1\]: the only class; allowed: at least two classes"):
        probe_predict(x, np.ones(50, int), x)
    with pytest.raises(ValueError, match=r"labels=float\d+\[50\]: wrong shape or dtype; allowed: int\[50\]"):
        probe_predict(x, y * 0.5, x)
    with pytest.raises(ValueError, match=r"queries=\(50, 2\): another width than the bank; allowed: \[M, 3\]"):
        probe_predict(x, y, x[:, :2])
    with pytest.raises(ValueError, match=r"bank\[1, 0\]=nan: not finite"):
        probe_predict(np.where(np.arange(50)[:, None] == 1, np.nan, x), y, x)
    with pytest.raises(ValueError, match=r"labels=\[\]: the only class"):
        probe_predict(x[:0], y[:0], x)
    with pytest.raises(ValueError, match=r"queries=\[0\]: none; allowed: at least 1"):
        probe_predict(x, y, x[:0])
    with pytest.raises(ValueError, match="max_iterations=0: out of range"):
        probe_predict(x, y, x, max_iterations=0)


def test_the_evaluator():
    x, y = data()
    part = Source({"x": x, "label": y})
    source = bank_and_queries(part.take(150), part.subset(np.arange(150, 200)))
    evaluator = linear_probe(source, key="z")
    rows = source[slice(None)]
    found = evaluator.finish(evaluator.add(None, {"z": rows["x"]}, rows))
    assert found["probe"] > 0.95
