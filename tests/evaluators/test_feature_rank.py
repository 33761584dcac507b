"""The rank of the queries' features, the rule of collapse, and the line of the report."""

import importlib

import numpy as np
import pytest

from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.source import Source
from dlcore.evaluators.feature_rank import feature_rank
from dlcore.metrics import alpha_req, rank_me
from dlcore.metrics.spectrum import is_collapsed
from dlcore.report.self_supervised import rank_table


def measure(features, **settings):
    """The evaluator on these queries, in batches of 7, beside a bank of ones."""
    parts = [np.ones_like(features), features]
    rows = bank_and_queries(*(Source({"z": z, "label": np.zeros(len(z), np.int32)}) for z in parts))
    evaluator, memory = feature_rank(rows, **settings), None
    for start in range(0, len(rows), 7):
        batch = rows[np.arange(start, min(start + 7, len(rows)))]
        memory = evaluator.add(memory, {"features": batch["z"], "embeddings": 0 * batch["z"]}, batch)
    return evaluator, evaluator.finish(memory)


@pytest.mark.covers("SS-40")
def test_the_rank_is_that_of_the_queries():
    features = np.random.default_rng(0).normal(size=(25, 4)).astype(np.float32)
    evaluator, numbers = measure(features, suffix="_x")
    assert evaluator.names == ("rank_x", "alpha_x")
    assert numbers == {"rank_x": pytest.approx(rank_me(features)), "alpha_x": pytest.approx(alpha_req(features))}


def test_of_many_queries_evenly_spaced_ones_from_first_to_last_are_measured(monkeypatch):
    """Of 25 queries the four at 0, 8, 16 and 24 are measured."""
    monkeypatch.setattr(importlib.import_module("dlcore.evaluators.feature_rank"), "_MOST", 4)
    features = np.random.default_rng(0).normal(size=(25, 4)).astype(np.float32)
    _, numbers = measure(features)
    assert numbers == {"rank": pytest.approx(rank_me(features[::8])), "alpha": pytest.approx(alpha_req(features[::8]))}
    assert measure(features[:1])[1] == {"rank": 1}


def test_collapsed_features_have_no_slope():
    assert measure(np.ones((9, 3), np.float32), key="embeddings")[1] == {"rank": 1}


@pytest.mark.covers("SS-40")
def test_the_report_says_collapsed_below_half_of_the_untrained_rank():
    assert [is_collapsed(rank, 8.0) for rank in (3.99, 4.0, 20.0)] == [True, False, False]
    numbers = {"rank": 3.0, "rank_untrained": 8.0, "alpha": 1.25}
    panel = rank_table(numbers)
    assert panel.subtitle == "Collapsed: the rank of the features is below 50 % of that of the untrained features."
    assert all(text in panel.html for text in ("3.00", "8.00", "1.25", "untrained"))
    assert rank_table(numbers | {"rank": 5.0}).subtitle.startswith("Not collapsed: ")
    assert not rank_table({}).subtitle
    # The loss sees the head's output, which collapses first.
    head = rank_table(numbers | {"rank": 7.5, "rank_head": 2.5}).subtitle
    assert head == "Collapsed: the rank of the head's output is below 50 % of that of the untrained features."


def test_a_rank_is_at_least_one():
    with pytest.raises(ValueError, match=r"rank=0\.5: out of range; allowed: at least 1"):
        is_collapsed(0.5, 2.0)
