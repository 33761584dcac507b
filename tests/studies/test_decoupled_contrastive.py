"""The measure by hand, a run that learns, and the verdict."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import decoupled_contrastive as study


def test_the_nearest_by_cosine_decides():
    bank, labels = jnp.array([[10.0, 0], [0, 0.1]]), jnp.array([0, 1])
    queries = jnp.array([[0.1, 0.0], [1, 2], [2, 1]])
    results = study.nearest_neighbor_accuracy(bank, labels, queries, jnp.array([0, 1, 1]))
    assert float(results) == pytest.approx(2 / 3)  # the third is nearer to the first of the bank
    assert float(study.nearest_neighbor_accuracy(bank, labels, queries, jnp.array([0, 1, 0]))) == 1


@pytest.mark.weekly
@pytest.mark.covers("LO-19")
@pytest.mark.parametrize("name", study.LOSSES)
def test_a_short_run_moves_the_features(name):
    results = study.accuracies(study.LOSSES[name], 16, 20, 1, 1e-3, 0.1)
    chex.assert_shape(results, (1, 2))
    assert 0.5 < results[0, 0] < 1
    assert 0.5 < results[0, 1] < 1
    assert results[0, 0] != results[0, 1]


def measured(nt=0.9, dcl=0.92):
    return {(loss, size): np.array([[0.8, a]] * 3) for loss, a in (("NT-Xent", nt), ("DCL", dcl)) for size in (32, 256)}


@pytest.mark.covers("LO-19")
def test_the_verdict_turns():
    good = study.report(measured())
    assert good.holds
    assert "in batches of 32: 90.0% with NT-Xent, 92.0% with DCL" in good.verdict
    assert "At 32 DCL is better (+2.0 points)" in good.verdict
    assert not study.report(measured(dcl=0.89)).holds


@pytest.mark.weekly
def test_a_run_descends_on_the_loss_that_it_is_given():
    """Nothing moves on a loss without a slope."""
    results = study.accuracies(lambda a, b, temperature: 0.0 * (a + b).sum(), 16, 5, 1, 1e-3, 0.1)
    assert results[0, 0] == results[0, 1]
