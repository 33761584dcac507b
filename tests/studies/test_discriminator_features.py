"""The verdict on written accuracies, and a GAN of a few steps."""

import jax
import numpy as np
import pytest

from experiments.studies import discriminator_features as study
from experiments.studies.small_runs import Digits, shuffled_digits


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


@pytest.mark.covers("SS-27")
def test_each_name_stands_for_its_features(monkeypatch):
    """Features before training are 0.1, after it 0.3; a row of pixels has 64 numbers."""
    before, after = np.float32(0.1), np.float32(0.3)
    digits = Digits(np.zeros((40, 8, 8, 1)), np.arange(40) % 10, np.zeros((3, 8, 8, 1)), np.zeros(3, int))
    monkeypatch.setattr(study, "shuffled_digits", lambda: digits)
    monkeypatch.setattr(study, "draw", lambda results: None)
    monkeypatch.setattr(study, "discriminators", lambda seed, digits, **_: (None, before, after))
    monkeypatch.setattr(study, "discriminator_features", lambda net, value, x: 0 * x[:, 0, 0] + value)

    def accuracies(bank, labels, queries, test_labels):
        assert (len(bank), len(labels), bank.shape[1]) == (20, 20, queries.shape[1])
        return [0.64 if bank.shape[1] == 64 else bank[0, 0], 0.5]

    monkeypatch.setattr(study, "accuracies", accuracies)
    result = study.study(num_seeds=1, steps=1, width=4, labels_per_class=2)
    measured = {name: result.numbers[f"{name}: {study.READERS[0]}"] for name in ("trained", "untrained", "pixels")}
    assert measured == {
        "trained": pytest.approx([0.3]),
        "untrained": pytest.approx([0.1]),
        "pixels": pytest.approx([0.64]),
    }
