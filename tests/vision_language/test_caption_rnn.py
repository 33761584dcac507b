"""The recurrent captioner by its equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.nn.recurrent import Recurrent
from dlcore.vision_language.caption_rnn import CaptionRNN

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
TOKENS = np.array([[1, 4, 5, 6], [1, 6, 6, 2]], np.int32)


class Patches(nn.Module):
    """Four patches of an image as they are: a backbone without parameters."""

    def features(self, x, train):
        b = x.shape[0]
        return {"fine": x, "map": x.reshape(b, 2, 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2, 2, 12)}


def small(cell, inject, **fields):
    sizes = {"hidden_size": 4, "embedding_dim": 3, "image_channels": 2, "image_features": 5}
    model = CaptionRNN(Patches(), 7, cell, inject, **sizes, **fields)
    params = jax.jit(model.init)(jax.random.key(1), IMAGES, TOKENS)["params"]
    head = {"kernel": RNG.normal(size=(4, 7)).astype(np.float32), "bias": RNG.normal(size=7).astype(np.float32)}
    return model, {**params, "head": head}


def dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params.get("bias", 0.0))


def vector_by_hand(params):
    grid = np.asarray(Patches().features(IMAGES, False)["map"])
    return np.maximum(dense(params["image"], np.maximum(dense(params["squeeze"], grid), 0).reshape(2, -1)), 0)


def recurrence_by_hand(params, h, term=0.0):
    r, logits = params["recurrent"], []
    for t in range(TOKENS.shape[1]):
        x = np.asarray(params["embed"]["embedding"])[TOKENS[:, t]]
        a = x @ np.asarray(r["input_kernel"]) + np.asarray(r["input_bias"])
        h = np.tanh(a + h @ np.asarray(r["hidden_kernel"]) + np.asarray(r["hidden_bias"]) + term)
        logits.append(dense(params["head"], h))
    return np.stack(logits, 1)


@pytest.mark.covers("CP-01")
def test_the_image_is_the_first_state():
    """h_0 = tanh(V v), and the image has no other way in."""
    model, params = small("rnn", "initial")
    want = recurrence_by_hand(params, np.tanh(dense(params["inject_state_0"], vector_by_hand(params))))
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params}, IMAGES, TOKENS), want, atol=1e-5)
    assert np.abs(want - recurrence_by_hand(params, np.zeros((2, 4)))).max() > 0.05


@pytest.mark.slow
@pytest.mark.covers("CP-02")
def test_the_image_is_a_term_of_every_step():
    """h_t = tanh(W_xh x + W_hh h + W_ih v) from h_0 = 0."""
    model, params = small("rnn", "every_step")
    want = recurrence_by_hand(params, np.zeros((2, 4)), dense(params["inject_term"], vector_by_hand(params)))
    np.testing.assert_allclose(model.apply({"params": params}, IMAGES, TOKENS), want, atol=1e-5)


class LanguageModel(nn.Module):
    """The same layers, and no image."""

    cell: str

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 3, name="embed")(tokens)
        layer = Recurrent(4, self.cell, name="recurrent")
        return nn.Dense(7, name="head")(layer(layer.initial_carry(tokens.shape[0]), x)[1])


@pytest.mark.slow(unless=["rnn"])
@pytest.mark.covers("CP-02")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_without_the_term_it_is_a_language_model_to_the_bit(cell):
    model, params = small(cell, "every_step")
    apply = jax.jit(model.apply)
    one, other = (np.asarray(apply({"params": params}, images, TOKENS)) for images in (IMAGES, IMAGES[::-1]))
    assert np.abs(one - other).max() > 1e-3
    params["inject_term"] = jax.tree.map(jnp.zeros_like, params["inject_term"])
    words = {name: params[name] for name in ("embed", "recurrent", "head")}
    want = jax.jit(LanguageModel(cell).apply)({"params": words}, TOKENS)
    np.testing.assert_array_equal(apply({"params": params}, IMAGES, TOKENS), want)


@pytest.mark.slow(only=["initial"])
@pytest.mark.covers("CP-04")
@pytest.mark.parametrize("inject", ["initial", "every_step"])
def test_an_lstm_reads_word_by_word_what_it_reads_at_once(inject):
    model, params = small("lstm", inject)
    variables = {"params": params}

    @jax.jit
    def run(variables):
        carry = model.apply(variables, model.apply(variables, IMAGES, method="encode"), 4, method="start")
        return model.apply(variables, IMAGES, TOKENS), carry

    step = jax.jit(lambda variables, carry, tokens: model.apply(variables, carry, tokens, method="step"))
    at_once, carry = run(variables)
    assert len(carry["state"]) == 2
    for t in range(4):
        carry, logits = step(variables, carry, TOKENS[:, t])
        np.testing.assert_allclose(logits, np.asarray(at_once)[:, t], atol=1e-6)
