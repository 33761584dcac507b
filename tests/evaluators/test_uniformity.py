"""Uniformity by hand, against the loss of a whole batch, and whatever the batches were."""

import importlib

import numpy as np
import pytest

from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.source import Source
from dlcore.evaluators.uniformity import uniformity, uniformity_of
from dlcore.losses import uniformity_loss


def spread(count, seed=0):
    z = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.slow
def test_by_hand_and_equal_to_the_loss():
    assert uniformity_of(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)  # squared distance 4, times 2
    assert uniformity_of(np.ones((3, 2))) == pytest.approx(0, abs=1e-12)
    assert uniformity_of(spread(1500)) == pytest.approx(float(uniformity_loss(spread(1500))), rel=1e-4)
    with pytest.raises(ValueError, match="embeddings: 1 of them"):
        uniformity_of(spread(1))


def test_pairs_in_blocks_of_evenly_spaced_embeddings(monkeypatch):
    """Rows 0, 1 and 3 on a line have the squared distances 1, 9 and 4, summed in blocks of two rows."""
    module = importlib.import_module("dlcore.evaluators.uniformity")
    monkeypatch.setattr(module, "_CHUNK", 2)
    line = np.array([[0.0], [1.0], [3.0]])
    assert uniformity_of(line, 0.5) == pytest.approx(np.log((np.exp(-0.5) + np.exp(-4.5) + np.exp(-2)) / 3))
    assert uniformity_of(line) == uniformity_of(line, 2.0)
    assert uniformity_of(line[:2]) == pytest.approx(-2)
    monkeypatch.setattr(module, "_MOST", 3)
    # Of five rows the first, the third and the last.
    assert uniformity_of(line[[0, 2, 1, 1, 2]], 0.5) == pytest.approx(uniformity_of(line, 0.5))


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_batches_do_not_matter(size):
    rows = bank_and_queries(*(Source({"z": spread(n, n), "label": np.zeros(n, np.int32)}) for n in (20, 41)))
    measure, memory = uniformity(rows), None
    assert (measure.source, measure.names) == (rows, ("uniformity",))
    for start in range(0, len(rows), size):
        batch = rows[np.arange(start, min(start + size, len(rows)))]
        memory = measure.add(memory, {"embeddings": batch["z"]}, batch)
    assert measure.finish(memory)["uniformity"] == pytest.approx(uniformity_of(spread(41, 41)))


def test_one_query_is_no_pair_and_has_the_uniformity_of_equal_embeddings():
    measure, line = uniformity("rows"), np.array([[0.0], [1.0], [3.0]])
    for count, expected in ((1, 0), (2, -2 * 2.0**2)):
        rows = {"label": np.zeros(count + 1), "bank": np.arange(count + 1) == 0}
        memory = measure.add(None, {"embeddings": line[: count + 1]}, rows)
        assert measure.finish(memory)["uniformity"] == pytest.approx(expected)
