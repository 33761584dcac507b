"""Perplexity and bits per dimension of known distributions, masked and in parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics.language import BitsPerDim, Perplexity, token_metrics


@pytest.mark.covers("ME-09")
def test_uniform_guesses():
    nats = jnp.full((3, 5), jnp.log(65.0))
    assert Perplexity.of(nats).compute() == pytest.approx(65, rel=1e-5)
    assert BitsPerDim.of(jnp.full((2, 4, 4, 3), jnp.log(256.0))).compute() == pytest.approx(8, rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("ME-09")
def test_the_exponential_of_the_mean_whatever_the_batch_split():
    logits = jax.random.normal(jax.random.key(0), (7, 6, 11))
    label = jax.random.randint(jax.random.key(1), (7, 6), 0, 11)
    keep = jax.random.bernoulli(jax.random.key(2), 0.6, (7, 6))
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], -1)[..., 0]
    nats = jnp.where(keep, nats, jnp.nan)
    mean = np.asarray(nats, np.float64)[np.asarray(keep)].mean()
    for metric, want in ((Perplexity, np.exp(mean)), (BitsPerDim, mean / np.log(2))):
        for cut in (1, 3, 6):
            parts = metric.of(nats[:cut], keep[:cut]).merge(metric.of(nats[cut:], keep[cut:]))
            assert isinstance(parts, metric)
            assert parts.compute() == pytest.approx(want, rel=1e-6)


def test_nothing_counted_is_none_and_a_wrong_mask_is_an_error():
    nats = jnp.ones((2, 3))
    assert Perplexity.of(nats, jnp.zeros((2, 3))).compute() is None
    assert BitsPerDim.of(nats, jnp.zeros((2, 3))).compute() is None
    with pytest.raises(ValueError, match=r"mask=\(2,\): wrong shape; allowed: \(2, 3\)"):
        Perplexity.of(nats, jnp.ones(2))


def test_a_mask_of_sequences_does_not_pass_for_one_of_tokens():
    nats, logits, target = jnp.ones((2, 2)), jnp.zeros((2, 2, 3)), jnp.zeros((2, 2), int)
    for wrong in ((nats[:1], logits, target),):
        with pytest.raises(ValueError, match=r"\w+=.*: wrong shape or dtype"):
            token_metrics(*wrong)


def test_tokens_by_hand():
    """Of three tokens that count two are right; they cost log 2, log 4 and log 8."""
    nats = np.log(np.float32([[2, 4], [8, 3]]))
    logits = np.eye(3, dtype=np.float32)[[[0, 2], [1, 1]]]
    found = token_metrics(nats, logits, np.array([[0, 2], [0, 1]]), np.array([[1, 1], [1, 0]]))
    values = {name: metric.compute() for name, metric in found.items()}
    assert values == pytest.approx({"loss": np.log(4), "accuracy": 2 / 3, "perplexity": 4, "bits": 2})
