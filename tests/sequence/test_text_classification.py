"""The head reads the right token whatever stands behind it, one update by hand, and weights of a run carry over."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.models.bert import BERT
from dlcore.models.gpt2 import GPT2
from dlcore.optim.partial import Part
from dlcore.sequence import text_classification
from dlcore.sequence.text_classification import PADDING, TextClassifier, pool_features
from dlcore.transfer.frozen import PartlyFrozen

GPT = GPT2(7, 6, num_layers=1, num_heads=2, width=4)
ENCODER = BERT(8, 6, num_layers=1, num_heads=2, width=4, mlp_features=8, head="pooled", dropout=0.0)


class Rows(nn.Module):
    """A network whose features of a token are a row of a table."""

    @nn.compact
    def features(self, tokens, train=False, mask=None):
        return self.param("table", nn.initializers.normal(1.0), (5, 3))[tokens]


def batch(text, label):
    return {
        "text": np.asarray(text, np.int32),
        "label": np.asarray(label, np.int32),
        "index": np.arange(len(label), dtype=np.int32),
    }


@pytest.mark.covers("AT-18")
def test_pooling_by_hand():
    """Two texts of three and one tokens: the last is the third and the first, the mean is over as many."""
    features = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    np.testing.assert_array_equal(pool_features(features, mask, "first"), [[0, 1], [6, 7]])
    np.testing.assert_array_equal(pool_features(features, mask, "last"), [[4, 5], [6, 7]])
    np.testing.assert_array_equal(pool_features(features, mask, "mean"), [[2, 3], [6, 7]])
    # A text without a token has no features; its padding's would be read.
    empty = np.array([[1, 1, 1], [0, 0, 0]], bool)
    for pooling in ("first", "last", "mean"):
        with pytest.raises(ValueError, match=r"mask\[1\]: a text without a token; allowed: one token at least"):
            pool_features(features, empty, pooling)
        pooled = jax.jit(pool_features, static_argnums=2)(features, empty, pooling)
        np.testing.assert_array_equal(np.isnan(pooled), [[False] * 2, [True] * 2])


@pytest.mark.slow(unless=["network1-*"])
@pytest.mark.covers("AT-17", "AT-18")
@pytest.mark.parametrize(
    ("network", "pooling", "cls_token", "position"),
    [(GPT, "last", None, 2), (ENCODER, "first", 7, 0), (ENCODER, "last", 7, 3)],
)
def test_the_head_reads_one_token_and_no_padding(network, pooling, cls_token, position):
    """Three tokens and two of padding: the logits are W h + b of the features of the text alone, at that position."""
    model = TextClassifier(network, 3, pooling, cls_token, dropout=0.5)
    tokens = jnp.array([[3, 1, 4, PADDING, PADDING]])

    @jax.jit
    def run(key):
        params = model.init(key, tokens)["params"]
        kernel = jax.random.normal(jax.random.fold_in(key, 1), params["head"]["kernel"].shape)
        params = {**params, "head": {"kernel": kernel, "bias": jnp.arange(3.0)}}
        text = jnp.array([[*([] if cls_token is None else [cls_token]), 3, 1, 4]])
        features = network.apply({"params": params["network"]}, text, method="features")
        logits = model.apply({"params": params}, tokens)
        return logits, features[0, position] @ kernel + jnp.arange(3.0), model.apply({"params": params}, tokens[:, :3])

    logits, expected, alone = run(jax.random.key(0))
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - np.arange(3)).max() > 0.1


@pytest.mark.covers("AT-18")
def test_one_update_by_hand():
    """Mean features of a table: the gradients of softmax cross-entropy by NumPy, of the head and of the table."""
    rate = 0.5
    model = TextClassifier(Rows(), 2, "mean")
    learner = text_classification.learner(model=model, optimizer=optax.sgd(rate))
    rows = batch([[1, 2, PADDING], [4, 4, 2]], [0, 1])

    @jax.jit
    def step(key):
        state = learner.init(key, rows)
        kernel = jax.random.normal(key, (3, 2))
        state = state.replace(params={**state.params, "head": {"kernel": kernel, "bias": jnp.array([0.1, 0.2])}})
        return state.params, *learner.update(state, rows)

    before, after, metrics = step(jax.random.key(0))
    table, kernel, bias = (
        np.float64(x) for x in (before["network"]["table"], *map(before["head"].get, ("kernel", "bias")))
    )
    x = np.stack([(table[1] + table[2]) / 2, (2 * table[4] + table[2]) / 3])
    logits = x @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    d = (p - np.eye(2)[[0, 1]]) / 2
    gradient = np.zeros((5, 3))
    gradient[1] = (d @ kernel.T)[0] / 2
    gradient[2] = (d @ kernel.T)[0] / 2 + (d @ kernel.T)[1] / 3
    gradient[4] = 2 * (d @ kernel.T)[1] / 3
    np.testing.assert_allclose(after.params["network"]["table"], table - rate * gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.params["head"]["kernel"], kernel - rate * x.T @ d, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.params["head"]["bias"], bias - rate * d.sum(0), rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(-np.log(p[[0, 1], [0, 1]]).mean(), rel=1e-5)


@pytest.mark.covers("AT-18")
def test_a_frozen_network_stays_and_its_head_learns():
    model = PartlyFrozen(TextClassifier(Rows(), 2, "last"), (Part("head"),))
    learner = text_classification.learner(model=model, optimizer=optax.sgd(0.5))
    rows = batch([[1, 2], [4, 3]], [0, 1])

    @jax.jit
    def step(key):
        state = learner.init(key, rows)
        return state, learner.update(state, rows)[0]

    before, after = step(jax.random.key(0))
    np.testing.assert_array_equal(after.params["network"]["table"], before.params["network"]["table"])
    assert np.abs(after.params["head"]["kernel"]).max() > 0
    assert learner.classes(before, rows) == {"label": 2}


@pytest.mark.weekly
@pytest.mark.covers("AT-18")
def test_the_last_token_of_a_gpt_tells_what_the_first_one_was():
    """The class is the first token: only what attends to it can answer, 1 of 2 by the last token alone."""
    rng = np.random.default_rng(0)
    model = TextClassifier(GPT2(4, 3, num_layers=1, num_heads=2, width=16), 2)
    learner = text_classification.learner(model=model, optimizer=optax.adam(1e-2))

    def draw(count):
        label = rng.integers(0, 2, count)
        return batch(np.stack([label, *rng.integers(2, 4, (2, count))], 1), label)

    state, update = jax.jit(learner.init)(jax.random.key(0), draw(2)), jax.jit(learner.update)
    for _ in range(60):
        state, _ = update(state, draw(32))
    assert learner.evaluate(state, draw(200))["accuracy"].compute() > 0.98
