"""Retrieval by text: pairs learnt by heart, masks, and replicas that share their negatives."""

import jax
import numpy as np
import optax
import pytest

from dlcore.data.words import END, START
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


@pytest.mark.slow
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
