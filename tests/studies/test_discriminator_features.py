"""The verdict on written accuracies, and a GAN of a few steps."""

import jax
import numpy as np
import pytest

from experiments.studies import discriminator_features as study
from experiments.studies.small_runs import shuffled_digits


@pytest.mark.covers("SS-27")
def test_the_verdict_needs_both_readers_ahead_by_more_than_the_spread():
    results = {
        "trained": np.array([[0.90, 0.92], [0.91, 0.93], [0.92, 0.94]]),
        "untrained": np.array([[0.80, 0.82], [0.80, 0.82], [0.80, 0.82]]),
        "pixels": np.array([[0.88, 0.89], [0.88, 0.89], [0.88, 0.89]]),
    }
    verdict, holds = study.judge(results)
    # 91 - 88 = 3 points and 93 - 89 = 4 points, of spreads of 2.
    assert holds
    assert "k-NN: trained 91.0 %, untrained 80.0 % (+11.0 points), pixels 88.0 % (+3.0 points)" in verdict
    swapped = results | {"trained": results["pixels"], "pixels": results["trained"]}
    verdict, holds = study.judge(swapped)
    assert not holds
    assert "not ahead of both" in verdict
    within = results | {"pixels": results["pixels"] + 0.015}  # 1.5 points, within the spread
    assert not study.judge(within)[1]


@pytest.mark.slow
def test_the_readers_are_measured():
    bank, labels = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.array([0, 1])
    queries = np.array([[2.0, 0.1], [0.1, 3.0], [1.0, 0.2], [1.0, 0.0]], np.float32)
    assert study.accuracies(bank, labels, queries, np.array([0, 1, 0, 1])) == [0.75, 0.75]


@pytest.mark.weekly
def test_training_moves_the_discriminator():
    _, before, after = study.discriminators(0, shuffled_digits(), steps=2, width=4)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before["params"], after["params"])
    assert all(jax.tree.leaves(moved))
