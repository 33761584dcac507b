"""The measure by hand, a run that learns, and the verdict."""

import functools

import chex
import jax
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


def by_hand(a, b, temperature, decoupled):
    """The mean over both views of each row of -s_pos + log(sum of e^s over the others, without the positive if DCL)."""
    z = np.concatenate([a, b])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    scores, n = z @ z.T / temperature, len(a)
    losses = []
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j != i and not (decoupled and j == positive)]
        losses.append(np.log(np.exp(scores[i, others]).sum()) - scores[i, positive])
    return np.mean(losses)


@pytest.mark.slow
@pytest.mark.covers("LO-19")
def test_each_name_stands_for_its_loss_and_batch(monkeypatch):
    """A run's accuracy is a hundredth of its loss on fixed views, plus its batch size over a thousand."""
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)

    @functools.cache
    def value_of(loss, temperature):
        return float(jax.jit(lambda: loss(a, b, temperature))())

    def accuracies(loss, batch_size, steps, num_seeds, learning_rate, temperature):
        value = value_of(loss, temperature) / 100 + batch_size / 1000
        return np.array([[0.1, value]] * num_seeds)

    monkeypatch.setattr(study, "accuracies", accuracies)
    result = study.study(num_seeds=2, batch_sizes=(8, 16), temperature=0.5)
    for name, decoupled in (("NT-Xent", False), ("DCL", True)):
        for size in (8, 16):
            expected = by_hand(a, b, 0.5, decoupled) / 100 + size / 1000
            np.testing.assert_allclose(result.numbers[f"accuracy, {name}, batch {size}"], expected, rtol=1e-5)
    assert not result.holds  # its loss is the smaller one
    assert (np.asarray(result.headline.values) < 0).all()


@pytest.mark.weekly
def test_a_run_descends_on_the_loss_that_it_is_given():
    """Nothing moves on a loss without a slope."""
    results = study.accuracies(lambda a, b, temperature: 0.0 * (a + b).sum(), 16, 5, 1, 1e-3, 0.1)
    assert results[0, 0] == results[0, 1]
