"""The tail's counts, what each loss says of one image of a rare class, recall, and the claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import long_tail as study


def test_counts_fall_exponentially():
    assert study.counts_of(100, 50.0)[[0, 9]].tolist() == [100, 2]
    labels = np.arange(30) % 10
    rows = study.long_tail(labels, np.array([3, 1, *[0] * 8]))
    assert rows.tolist() == [0, 10, 20, 1]


def test_each_objective_by_hand():
    """Class 9 has 2 of the examples, the others 100 each; the logits are 1 for class 9 and 0 for the others.

    Weights (1 - .99) / (1 - .99^n), scaled to a mean of 1; margins proportional to n^(-1/4), the largest 2."""
    counts = np.array([100] * 9 + [2])
    logits = np.zeros((1, 10), np.float32)
    logits[0, 9] = 1
    log_p = 1 - np.log(9 + np.e)
    weights = 0.01 / (1 - 0.99**counts)
    weight = weights[9] / weights.mean()
    shifted = -1 - np.log(9 + np.exp(-1))  # 1 - 2
    p = 1 / (1 + np.exp(-1))
    focal = -0.25 * (1 - p) ** 2 * np.log(p) - 9 * 0.75 * 0.5**2 * np.log(0.5)
    want = {"cross-entropy": -log_p, "class-balanced": -weight * log_p, "focal": focal, "LDAM": -shifted}

    @jax.jit
    def losses(logits):
        logits, labels = jnp.repeat(logits, 2, 0), jnp.array([9, 9])  # the mean of two alike is that of one
        return {name: loss(logits, None, labels) for name, loss in study.objectives(counts).items()}

    assert jax.device_get(losses(logits)) == pytest.approx(want, rel=1e-4)


def test_recall_is_of_each_digit_whatever_its_test_images():
    """Of four nines one is recognized, of the other digits their only image."""
    labels = jnp.array([*range(9), 9, 9, 9, 9])
    np.testing.assert_allclose(study.recalls(jnp.array([*range(10), 0, 1, 2]), labels), [1] * 9 + [0.25])


def test_the_claim_asks_both_remedies_for_the_rarest_digits():
    def recall(rare):
        return np.array([[0.9] * 7 + [rare] * 3] * 2)

    good = {"cross-entropy": recall(0.5), "class-balanced": recall(0.6), "focal": recall(0.4), "LDAM": recall(0.7)}
    assert study.judge(good)
    for name in ("class-balanced", "LDAM"):
        assert not study.judge(good | {name: recall(0.5)})
