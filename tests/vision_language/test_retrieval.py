"""Retrieval by text: pairs learnt by heart, masks, and replicas that share their negatives."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.words import END, START
from dlcore.learner import State
from dlcore.losses import clip_loss
from dlcore.vision_language import retrieval
from tests.siamese_toys import log_softmax, slopes, unit_rows
from tests.wiring import assert_wiring

PAIRS = 8


def pairs():
    rng = np.random.default_rng(0)
    captions = np.stack([[START, 4 + k // 3, 4 + k % 3, END] for k in range(PAIRS)])[:, None].astype(np.int32)
    return {
        "clip": rng.normal(size=(PAIRS, 2, 8, 8, 3)).astype(np.float32),
        "captions": captions,
        "index": np.arange(PAIRS, dtype=np.int32),
    }


def toy(**kwargs):
    model = retrieval.DualEncoder(7, 8, (8,), (4,), hidden_size=16, word_size=4)
    return retrieval.learner(model=model, optimizer=optax.adam(0.01), **kwargs)


@pytest.fixture(scope="module")
def learner():
    learner = toy()
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "update", "evaluate", "predict")})


@pytest.mark.weekly
@pytest.mark.covers("CP-10")
def test_each_sentence_finds_its_clip(learner):
    batch = pairs()
    state = learner.init(jax.random.key(0), batch)
    first = learner.predict(state, batch)
    value = clip_loss(first["clip"], first["sentence"], 0.07)
    assert learner.evaluate(state, batch)["loss"].compute() == pytest.approx(float(value), rel=1e-4)
    for _ in range(80):
        state, _ = learner.update(state, batch)
    out = learner.predict(state, batch)
    scores = np.asarray(out["sentence"]) @ np.asarray(out["clip"]).T
    np.testing.assert_array_equal(scores.argmax(1), np.arange(PAIRS))
    np.testing.assert_array_equal(scores.argmax(0), np.arange(PAIRS))
    np.testing.assert_allclose(np.linalg.norm(out["clip"], axis=1), 1, rtol=1e-5)
    assert learner.evaluate(state, batch)["accuracy"].compute() == 1.0
    swapped = {**batch, "captions": np.roll(batch["captions"], 1, 0)}
    assert learner.evaluate(state, swapped)["accuracy"].compute() == 0.0


@pytest.mark.slow
def test_padding_is_no_negative(learner):
    batch = pairs()
    state = learner.init(jax.random.key(0), batch)
    few = jax.tree.map(lambda x: x[:5], batch)
    mask = (np.arange(PAIRS) < 5).astype(np.float32)
    for name, want in learner.evaluate(state, few).items():
        got = learner.evaluate(state, {**batch, "mask": mask})[name]
        assert got.compute() == pytest.approx(want.compute(), rel=1e-5)
        assert int(got.count) == 5


@pytest.mark.slow
def test_an_image_is_a_clip_of_one_frame(learner):
    batch = pairs()
    still = {**batch, "clip": batch["clip"][:, :1]}
    image = {"image": still["clip"][:, 0], **{k: batch[k] for k in ("captions", "index")}}
    state = learner.init(jax.random.key(0), still)
    np.testing.assert_allclose(learner.predict(state, still)["clip"], learner.predict(state, image)["clip"], atol=1e-6)


def unit(x):
    return x / jnp.sqrt((x**2).sum(-1, keepdims=True))


class Embeddings(nn.Module):
    """A clip's embedding by one matrix, a sentence's by the row of its first word."""

    @nn.compact
    def __call__(self, clip, tokens):
        words = self.param("words", nn.initializers.ones, (7, 2))[tokens[:, 1]]
        clips = clip @ self.param("clips", nn.initializers.ones, (3, 2))
        return unit(clips), unit(words), jnp.exp(self.param("log_scale", nn.initializers.zeros, ()))


def embedded(params, seen, words):
    """Unit vectors of clips [N, 3] and of words [N]."""
    return unit_rows(seen @ params["clips"]), unit_rows(params["words"][words])


def contrast(params, seen, words):
    """Entropies of the right sentence for a clip, and the other way round."""
    clips, sentences = embedded(params, seen, words)
    scores = clips @ sentences.T * np.exp(params["log_scale"])
    return -(np.diag(log_softmax(scores)) + np.diag(log_softmax(scores.T))).mean() / 2


def test_one_update_an_evaluation_and_a_prediction_by_hand():
    """A caption drawn of each of three clips, which are doubled and get noise; a fourth clip does not count."""
    rate, draws = 0.1, np.random.default_rng(0)
    learner = retrieval.learner(
        model=Embeddings(), optimizer=optax.sgd(rate), preprocess=lambda clip: 2 * clip,
        augment=lambda key, x: x + jax.random.normal(key, x.shape),
    )  # fmt: skip
    clips = draws.normal(size=(4, 3)).astype(np.float32)
    captions = np.array([[[START, word, END]] * 2 for word in (4, 6, 3, 2)], np.int32)
    captions[0, 1, 1] = 5
    params = {"words": draws.normal(size=(7, 2)), "clips": draws.normal(size=(3, 2)), "log_scale": np.array(0.9)}
    single = {name: value.astype(np.float32) for name, value in params.items()}
    params = {name: value.astype(np.float64) for name, value in single.items()}
    state = State(np.int32(2), jax.random.key(3), single, optax.sgd(rate).init(single))
    batch = {"clip": clips, "captions": captions, "index": np.arange(4), "mask": np.float32([1, 1, 1, 0])}

    @jax.jit
    def run(state, batch):
        keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 2), i) for i in range(3)]
        noise = jnp.stack([jax.random.normal(jax.random.fold_in(key, 1), (3,)) for key in keys])
        drawn = jax.random.uniform(keys[0], (2,)).argmin(), noise
        return learner.update(state, batch), learner.evaluate(state, batch), learner.predict(state, batch), drawn

    (after, metrics), evaluated, predicted, (first, noise) = jax.device_get(run(state, batch))
    seen, words = 2 * clips[:3].astype(np.float64) + noise, [int(captions[0, first, 1]), 6, 3]
    assert metrics["loss"].compute() == pytest.approx(contrast(params, seen, words), rel=1e-5)
    for name, slope in slopes(lambda params: contrast(params, seen, words), params).items():
        np.testing.assert_allclose(after.params[name], params[name] - rate * slope, rtol=1e-4, atol=1e-6)
    plain = 2 * clips[:3].astype(np.float64)
    assert evaluated["loss"].compute() == pytest.approx(contrast(params, plain, [4, 6, 3]), rel=1e-5)
    clip_vectors, sentences = embedded(params, plain, [4, 6, 3])
    right = ((sentences @ clip_vectors.T).argmax(1) == np.arange(3)).mean()
    assert 0 < right < 1
    assert evaluated["accuracy"].compute() == pytest.approx(right)
    assert int(evaluated["loss"].count) == 3
    np.testing.assert_allclose(predicted["clip"][:3], clip_vectors, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predicted["sentence"][:3], sentences, rtol=1e-4, atol=1e-6)
    started = jax.eval_shape(learner.init, jax.random.key(0), batch).params
    assert {name: leaf.shape for name, leaf in started.items()} == {name: x.shape for name, x in params.items()}


def test_the_wiring_of_both_encoders_is_as_it_was():
    """A regression: the numbers are of the network that the weekly tier trains. An image is a clip of one frame."""
    model, tokens = retrieval.DualEncoder(7, 8, (8,), (4,), hidden_size=16, word_size=4), pairs()["captions"][:2, 0]
    assert_wiring(model, (2, 2, 8, 12, 3), tokens, [2.66126, 2.79382])

    @jax.jit
    def scales(image):
        (clips, sentences, scale), variables = model.init_with_output(jax.random.key(0), image, tokens)
        chex.assert_shape((clips, sentences), (2, 8))
        sharp = {**variables["params"], "log_scale": jnp.float32(5)}
        return scale, model.apply({"params": sharp}, image, tokens)[2]

    # 1 / 0.07 at first, and e^5 = 148 is too much.
    np.testing.assert_allclose(scales(np.zeros((2, 8, 8, 3), np.float32)), [1 / 0.07, 100], rtol=1e-5)
    half, image = model.clone(dtype=jnp.bfloat16), np.zeros((2, 8, 8, 3), np.float32)
    seen = jax.eval_shape(
        lambda key: half.init_with_output(key, image, tokens, capture_intermediates=True, mutable=True),
        jax.random.key(0),
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(seen[0])} == {np.dtype(np.float32)}
    inside = seen[1]["intermediates"]
    for part in (inside["clip"], inside["sentence"]["embed"], inside["clip_head"], inside["sentence_head"]):
        assert part["__call__"][0].dtype == jnp.bfloat16
    batch = {"captions": tokens[:, None]}
    assert retrieval.learner(model=model, optimizer=optax.sgd(0.1)).classes(None, batch) == {"captions": 7}
