"""A short run learns, and the verdict follows numbers that were written for it."""

import chex
import jax
import numpy as np
import pytest

from experiments.studies import consistency
from experiments.studies.small_runs import shuffled_digits


@pytest.mark.covers("RG-25")
def test_the_verdict_follows_the_numbers():
    arms = dict(zip(consistency.ARMS, (np.array([[0.5, a], [0.5, a]]) for a in (0.8, 0.82, 0.9)), strict=True))
    verdict, holds = consistency.judge(arms, 100)
    assert holds
    assert "80.0% without unlabeled digits, 82.0% with heavy" in verdict
    assert "beats the first on 2 of 2 seeds, by 10.0 points" in verdict
    arms[consistency.ARMS[2]] = np.array([[0.5, 0.9], [0.5, 0.8]])
    verdict, holds = consistency.judge(arms, 100)
    assert not holds
    assert "on 1 of 2 seeds" in verdict


@pytest.mark.weekly
@pytest.mark.covers("RG-25")
def test_a_run_on_both_kinds_of_digits_learns():
    keys = jax.random.split(jax.random.key(0), 1)
    results = consistency.measure(keys, shuffled_digits(), consistency.ARMS[2], 100, 25, 1.0, 0.8)
    chex.assert_shape(results, (1, 2))
    assert np.isfinite(results).all()
    assert results[0, 1] > 0.3  # chance is .1
