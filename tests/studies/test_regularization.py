"""The study's measurements on a few steps, and its verdict on numbers that were written for it."""

import chex
import jax
import numpy as np
import pytest

from experiments.studies import regularization
from experiments.studies.small_runs import shuffled_digits


def rows(seen, unseen, accuracy):
    """Two seeds of (training and test log loss, training and test accuracy)."""
    return np.array([[seen, unseen, 1.0, accuracy]] * 2)


def story(gap_of_dropout=0.5, curve=(1.0, 0.8, 0.6, 0.4, 0.3, 0.2), norm=(0.90, 0.88)):
    arms = {"nothing": rows(0, 1, 0.8), "dropout": rows(0.1, 0.1 + gap_of_dropout, 0.85), "both": rows(0.2, 0.5, 0.9)}
    sizes = np.stack([rows(0, gap, 0.9) for gap in curve], 1)
    table = {(False, False): rows(0, 1, 0.8), (False, True): rows(0, 1, 0.85)}
    table |= {(True, False): rows(0, 1, norm[0]), (True, True): rows(0, 1, norm[1])}
    return regularization.judge(arms, sizes, table)


@pytest.mark.covers("RG-21", "RG-29")
def test_the_verdict_follows_the_numbers():
    verdict, holds = story()
    assert holds
    assert "2 of 2 narrow the gap" in verdict
    assert "the best accuracy has both (90.0% against 80.0%)" in verdict
    assert "the gap shrinks, from 1.00 to 0.20" in verdict
    assert "by +5.0 points without batch norm and by -2.0 with it: with batch norm it helps less and hurts" in verdict
    assert not story(gap_of_dropout=1.2)[1]
    verdict, holds = story(curve=(0.2, 0.3, 0.4, 0.6, 0.8, 1.0))
    assert not holds
    assert "does NOT shrink" in verdict
    assert "helps as much" in story(norm=(0.8, 0.9))[0]


@pytest.mark.weekly
@pytest.mark.covers("RG-21", "RG-29")
def test_a_few_steps_are_measured_on_the_named_examples():
    keys = jax.random.split(jax.random.key(0), 2)
    results = regularization.measure(keys, 60, shuffled_digits(), counts=(20, 400), dropout_rate=0.1, batch_norm=True)
    chex.assert_shape(results, (2, 2, 4))
    assert np.isfinite(results).all()
    gap = results[..., 1] - results[..., 0]
    assert (gap[:, 0] > gap[:, 1]).all()  # 20 examples are memorized
    assert (results[:, 1, 3] > results[:, 0, 3]).all()
