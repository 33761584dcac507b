"""Sentences of clips: the order of the frames decides, every sentence ends, and padding does not count."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.learner import State
from dlcore.vision_language import video_caption
from tests.random_weights import random_like
from tests.wiring import assert_wiring

LEFT, RIGHT, MOVES = 4, 5, 6


def moving(rows=16, seed=0):
    """A bright half that goes from the left to the right, or back: the same two frames in two orders."""
    rng = np.random.default_rng(seed)
    right = np.arange(rows) % 2
    clip = 0.1 * rng.normal(size=(rows, 2, 8, 8, 3)).astype(np.float32)
    for row, way in zip(clip, right, strict=True):
        row[1 - way, :, :4] += 1
        row[way, :, 4:] += 1
    captions = np.full((rows, 2, 5), PAD, np.int32)
    captions[:, 0, :4] = np.stack([[START] * rows, [MOVES] * rows, np.where(right, RIGHT, LEFT), [END] * rows], 1)
    captions[::2, 1, :3] = np.stack([[START] * 8, np.where(right[::2], RIGHT, LEFT), [END] * 8], 1)
    return {"clip": clip, "captions": captions, "index": np.arange(rows, dtype=np.int32)}


@pytest.fixture(scope="module")
def learner():
    model = video_caption.VideoCaptioner(7, (8,), (2,), hidden_size=24, embedding_dim=4)
    learner = video_caption.learner(model=model, optimizer=optax.adam(0.01), max_length=4)
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "update", "evaluate", "predict")})


def random_state(learner, batch):
    """Random parameters, those of the head too, which starts at zero."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch).params
    return State(jnp.zeros((), jnp.int32), jax.random.key(0), random_like(shapes, 0.5), ())


@pytest.mark.weekly
@pytest.mark.covers("CP-09")
def test_the_sentence_follows_the_order_of_the_frames(learner):
    batch = moving()
    state = learner.init(jax.random.key(0), batch)
    assert learner.evaluate(state, batch)["loss"].compute() == pytest.approx(np.log(7), rel=1e-5)
    for _ in range(80):
        state, _ = learner.update(state, batch)
    assert learner.evaluate(state, batch)["exact_match"].compute() == 1.0
    backward = {**batch, "clip": batch["clip"][:, ::-1]}
    said, other = (np.asarray(learner.predict(state, b)["tokens"]) for b in (batch, backward))
    assert ((said == RIGHT).any(1) == (np.arange(16) % 2 == 1)).all()
    assert ((other == RIGHT).any(1) == (np.arange(16) % 2 == 0)).all()
    assert learner.evaluate(state, backward)["exact_match"].compute() == 0.0


@pytest.mark.covers("CP-09")
def test_the_order_of_the_frames_changes_what_each_word_costs(learner):
    """Two frames exchanged are another state of the recurrent network; the mean over frames would not notice."""
    batch = moving()
    state = random_state(learner, batch)
    backward = {**batch, "clip": batch["clip"][:, ::-1]}
    forward, other = (learner.evaluate(state, b)["loss"].compute() for b in (batch, backward))
    assert abs(forward - other) > 1e-3


@pytest.mark.covers("CP-06")
def test_every_row_ends_at_its_first_end(learner):
    batch = moving()
    state = random_state(learner, batch)
    outputs = {name: np.asarray(value) for name, value in learner.predict(state, batch).items()}
    assert (outputs["length"] < 4).any()  # some end before the longest sentence
    for tokens, length in zip(outputs["tokens"], outputs["length"], strict=True):
        assert (tokens[length:] == PAD).all()
        assert not np.isin(tokens[:length], [PAD, START, UNKNOWN]).any()
        assert END not in tokens[: length - 1]
        assert tokens[length - 1] == END or length == 4


@pytest.mark.slow
def test_masks_and_all_references(learner):
    """By hand: a uniform model's accuracy and loss are over 16 first references of 3 words and 8 second ones of 2."""
    batch = moving()
    state = learner.init(jax.random.key(0), batch)
    metrics = learner.evaluate(state, batch)
    assert int(metrics["loss"].count) == 16 * 3 + 8 * 2
    half = learner.evaluate(state, {**batch, "mask": (np.arange(16) < 2).astype(np.float32)})
    assert int(half["loss"].count) == 2 * 3 + 2
    assert int(half["exact_match"].count) == 2


class Bigrams(nn.Module):
    """The next word's logits: a row for the word before, and the clip's mean by a direction."""

    @nn.compact
    def __call__(self, clip, tokens):
        rows = self.param("rows", nn.initializers.zeros, (7, 7))
        return rows[tokens] + clip.mean((1, 2, 3, 4))[:, None, None] * self.param("clip", nn.initializers.zeros, (7,))


@pytest.mark.covers("CP-09")
def test_one_update_by_hand():
    """One reference of each clip by its key; the second clip has one, the third does not count, nor does padding."""
    rate, rng = 0.5, np.random.default_rng(0)
    learner = video_caption.learner(model=Bigrams(), optimizer=optax.sgd(rate), preprocess=lambda clip: 2 * clip)
    before = {"rows": rng.normal(size=(7, 7)).astype(np.float32), "clip": rng.normal(size=7).astype(np.float32)}
    captions = np.full((3, 2, 5), PAD, np.int32)
    captions[0] = [[START, MOVES, LEFT, END, PAD], [START, RIGHT, END, PAD, PAD]]
    captions[1, 0, :4] = START, MOVES, RIGHT, END
    captions[2] = captions[0]
    clip = rng.normal(size=(3, 2, 1, 1, 3)).astype(np.float32)
    batch = {"clip": clip, "captions": captions, "index": np.array([5, 6, 8]), "mask": np.float32([1, 1, 0])}
    state = State(np.int32(4), jax.random.key(3), before, optax.sgd(rate).init(before))
    run = jax.jit(lambda state, batch: (learner.update(state, batch), learner.loss(state.params, state, batch)[0]))
    (after, metrics), whole = run(state, batch)
    draw = jax.jit(lambda: jax.random.uniform(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 4), 5), (2,)))
    said = [captions[0, int(jnp.argmin(draw()))], captions[1, 0]]
    new, nats = {name: np.array(value, np.float64) for name, value in before.items()}, []
    pairs = [(i, a, b) for i in range(2) for a, b in zip(said[i], said[i][1:], strict=False) if b != PAD]
    for i, word, following in pairs:
        mean = 2 * clip[i].mean()
        p = np.exp(before["rows"][word] + mean * before["clip"])
        p /= p.sum()
        slope = (p - np.eye(7)[following]) / len(pairs)
        new["rows"][word] -= rate * slope
        new["clip"] -= rate * mean * slope
        nats.append(-np.log(p[following]))
    for name, value in new.items():
        np.testing.assert_allclose(after.params[name], value, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(np.mean(nats), rel=1e-5)
    # Without a key it is the first reference that is read.
    first = []
    for row, frames in zip(captions[:2, 0], clip[:2], strict=True):
        for word, following in itertools.pairwise(row[row != PAD]):
            p = np.exp(before["rows"][word] + 2 * frames.mean() * before["clip"])
            first.append(-np.log(p[following] / p.sum()))
    assert float(whole) == pytest.approx(np.mean(first), rel=1e-5)
    assert learner.classes(state, batch) == {}
    named = video_caption.learner(model=video_caption.VideoCaptioner(9), optimizer=optax.sgd(rate))
    assert named.classes(state, batch) == {"captions": 9}


def test_the_wiring_of_the_video_captioner_is_as_it_was():
    """A regression: the number holds the code as it was, of three frames of 4 x 6 places."""
    model = video_caption.VideoCaptioner(9, (8,), (2,), hidden_size=4, embedding_dim=3)
    assert_wiring(model, (2, 3, 8, 12, 3), np.array([[1, 4, 5], [1, 6, 2]]), [4.25227, -0.985268])
