"""Retrieval by text: pairs learnt by heart, masks, and replicas that share their negatives."""

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


@pytest.mark.slow
def test_one_update_by_hand():
    """A caption drawn of each of three clips; entropies of the right sentence for a clip, and the other way round."""
    rate, draws = 0.1, np.random.default_rng(0)
    learner = retrieval.learner(
        model=Embeddings(), optimizer=optax.sgd(rate), augment=lambda key, x: x + jax.random.normal(key, x.shape)
    )
    clips = draws.normal(size=(3, 3)).astype(np.float32)
    captions = np.array([[[START, 4, END], [START, 5, END]], [[START, 6, END]] * 2, [[START, 3, END]] * 2], np.int32)
    before = {"words": draws.normal(size=(7, 2)), "clips": draws.normal(size=(3, 2)), "log_scale": np.array(0.9)}
    before = {name: value.astype(np.float32) for name, value in before.items()}
    state = State(np.int32(2), jax.random.key(3), before, optax.sgd(rate).init(before))
    after, metrics = jax.jit(learner.update)(state, {"clip": clips, "captions": captions, "index": np.arange(3)})

    @jax.jit
    def expected(params):
        keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 2), i) for i in range(3)]
        first = jax.random.uniform(keys[0], (2,)).argmin()
        words = jnp.stack([jnp.asarray(captions)[0, first, 1], 6, 3])
        seen = clips + jnp.stack([jax.random.normal(jax.random.fold_in(key, 1), (3,)) for key in keys])

        def loss(params):
            scores = unit(seen @ params["clips"]) @ unit(params["words"][words]).T * jnp.exp(params["log_scale"])
            rows, columns = (jnp.log(jnp.exp(scores) / jnp.exp(scores).sum(axis, keepdims=True)) for axis in (1, 0))
            return -(jnp.diag(rows) + jnp.diag(columns)).mean() / 2

        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params)), loss(params)

    new, loss = expected(before)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, new)
    assert metrics["loss"].compute() == pytest.approx(float(loss), rel=1e-5)
