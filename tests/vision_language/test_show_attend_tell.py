"""The attending captioner by its equations, one step after the other in numpy."""

import jax
import numpy as np
import pytest

from dlcore.vision_language.show_attend_tell import ShowAttendTell
from tests.vision_language.test_caption_rnn import IMAGES, RNG, TOKENS, Patches, dense
from tests.wiring import assert_wiring


def small():
    model = ShowAttendTell(Patches(), 7, hidden_size=4, embedding_dim=3, attention_features=3, image_features=5)
    params = model.init(jax.random.key(1), IMAGES, TOKENS)["params"]
    head = {"kernel": RNG.normal(size=(4, 7)).astype(np.float32), "bias": RNG.normal(size=7).astype(np.float32)}
    return model, {**params, "head": head}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.slow
@pytest.mark.covers("CP-03")
def test_every_word_is_written_after_a_look_that_the_last_state_chose():
    model, params = small()
    d = params["decoder"]
    place = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)  # (y, x), row by row
    patches = np.asarray(Patches().features(IMAGES, False)["map"]).reshape(2, 4, 12)
    a = dense(params["grid"], np.concatenate([patches, np.broadcast_to(place, (2, 4, 2))], -1))
    a = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6)
    state = dense(params["bridge"], a.mean(1))
    s, c = np.tanh(state[:, :4]), state[:, 4:]
    logits, weights = [], []
    for t in range(TOKENS.shape[1]):
        x = np.asarray(params["embed"]["embedding"])[TOKENS[:, t]]
        hidden = np.tanh(dense(d["attend"]["query"], s)[:, None] + dense(d["attend"]["key"], a))
        scores = np.exp(dense(d["attend"]["score"], hidden)[..., 0])
        alpha = scores / scores.sum(1, keepdims=True)
        z = sigmoid(dense(d["gate"], s)) * (alpha[..., None] * a).sum(1)
        gates = dense(d["input"], x) + dense(d["context"], z) + dense(d["hidden"], s)
        i, f, g, o = np.split(gates, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        s = sigmoid(o) * np.tanh(c)
        logits.append(dense(params["head"], np.tanh(dense(params["readout"], np.concatenate([s, z, x], -1)))))
        weights.append(alpha)
    got, sown = model.apply({"params": params}, IMAGES, TOKENS, mutable=["intermediates"])
    np.testing.assert_allclose(got, np.stack(logits, 1), atol=1e-4)
    alignment = model.alignment(sown["intermediates"])
    np.testing.assert_allclose(alignment, np.stack(weights, 1), atol=1e-4)
    np.testing.assert_allclose(alignment.sum(-1), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("CP-03")
def test_it_reads_word_by_word_what_it_reads_at_once():
    model, params = small()
    variables = {"params": params}
    at_once = model.apply(variables, IMAGES, TOKENS)
    carry = model.apply(variables, model.apply(variables, IMAGES, method="encode"), 4, method="start")
    for t in range(4):
        carry, logits = model.apply(variables, carry, TOKENS[:, t], method="step")
        np.testing.assert_allclose(logits, at_once[:, t], atol=1e-6)


def test_the_wiring_of_show_attend_tell_is_as_it_was():
    """A regression: the number holds the code as it was."""
    model = ShowAttendTell(Patches(), 7, hidden_size=4, embedding_dim=3, attention_features=3, image_features=5)
    assert_wiring(model, IMAGES.shape, TOKENS, [6.88631, 4.06357])
