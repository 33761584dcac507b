"""The verdict on numbers that were written for it."""

import numpy as np
import pytest

from experiments.studies import ensembles


def pair(*values):
    """[1, K, 2] of (log loss, accuracy)."""
    return np.array([values], float)


@pytest.mark.covers("RG-22", "RG-24", "RG-28")
def test_the_verdict_follows_the_numbers():
    members, whole = pair((0.5, 0.8), (0.3, 0.9)), np.array([[0.35, 0.92]])
    shots, joined = pair((0.6, 0.7), (0.4, 0.85)), np.array([[0.3, 0.85]])
    swa = pair((0.5, 0.88), (0.4, 0.9), (2.0, 0.5))
    verdict, holds = ensembles.judge(members, whole, shots, joined, swa)
    assert holds
    assert "85.0% each, 90.0% the best, 92.0% together (above the best on 1 of 1 seeds)" in verdict
    assert "log loss 0.400 to 0.350, never above" in verdict
    assert "85.0% the last, 85.0% together (no worse on 1 of 1)" in verdict
    assert "88.0% the last weights, 90.0% their average (no worse on 1 of 1; 50.0% with" in verdict
    assert not ensembles.judge(members, np.array([[0.35, 0.9]]), shots, joined, swa)[1]  # as good as the best only
    assert "NOT never" in ensembles.judge(members, np.array([[0.45, 0.92]]), shots, joined, swa)[0]
    assert not ensembles.judge(members, whole, shots, np.array([[0.3, 0.8]]), swa)[1]
    assert not ensembles.judge(members, whole, shots, joined, swa[:, [1, 0, 2]])[1]
