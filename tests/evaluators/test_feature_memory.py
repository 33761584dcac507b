"""Batches are collected, and split into bank and queries."""

import chex
import numpy as np
import pytest

from dlcore.evaluators.feature_memory import FeatureMemory, collect_features


def test_batches_are_collected_and_split():
    add, acc = collect_features("features"), None
    for start in (0, 2):
        rows = {"label": np.arange(start, start + 2), "bank": np.array([1, 0])}
        acc = add(acc, {"features": np.full((2, 1), start)}, rows)
    bank, labels, queries, truth = acc.split()
    np.testing.assert_array_equal(labels, [0, 2])
    np.testing.assert_array_equal(truth, [1, 3])
    chex.assert_shape([bank, queries], (2, 1))
    with pytest.raises(ValueError, match="bank_and_queries"):
        FeatureMemory([(np.zeros((2, 1)), np.zeros(2), np.ones(2))]).split()
