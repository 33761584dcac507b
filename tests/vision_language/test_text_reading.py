"""Reading by CTC: the loss over all paths, one update and the collapse by hand; the centers of attention in order."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.text_images import text_images
from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.experiment.resolve import resolve
from dlcore.setting import FlagError
from dlcore.vision_language import text_reading
from dlcore.vision_language.text_reading import AttendingReader, CTCReader, TextEncoder, collapse, reading_order
from experiments.vision_language import text_reading as page
from tests.passes import PASSED, count_pass, passes
from tests.wiring import assert_wiring

A, B = 4, 5


class AttendingTable(nn.Module):
    """An encoder of one parameter, logits [V], which are those of every token and of the only column."""

    vocab_size: int = 6

    def setup(self):
        self.table = self.param("table", nn.initializers.normal(1.0), (self.vocab_size,))

    def __call__(self, images, tokens, train=False):
        return self.decode(self.encode(images, train), tokens, train)

    def encode(self, images, train=False):
        return {"columns": jnp.broadcast_to(self.table, (len(images), 1, self.vocab_size))}

    def decode(self, memory, tokens, train=False):
        return jnp.broadcast_to(memory["columns"], (*tokens.shape, self.vocab_size))


class Table(nn.Module):
    """Logits [T, V] of each column, the same for every image."""

    columns: int
    vocab_size: int = 6

    @nn.compact
    def __call__(self, images, train=False):
        count_pass(self, train)
        table = self.param("table", nn.initializers.normal(1.0), (self.columns, self.vocab_size))
        return jnp.broadcast_to(table, (len(images), *table.shape))


def batch_of(*strings, length=5):
    rows = [[START, *s, END] + [PAD] * (length - 2 - len(s)) for s in strings]
    captions = np.array(rows, np.int32)[:, None]
    return {"image": np.zeros((len(rows), 8, 8, 3), np.float32), "captions": captions, "index": np.arange(len(rows))}


@pytest.mark.covers("CP-11")
def test_the_likelihood_sums_over_all_paths_and_a_repeated_character_needs_a_blank():
    """Three columns. "ab": aab, abb, ab_, a_b, _ab; "aa": a_a alone."""
    learner = text_reading.learner(model=Table(3), optimizer=optax.sgd(1.0), max_length=4)
    batch = batch_of([A, B], [A, A])
    state = learner.init(jax.random.key(0), batch)
    p = np.asarray(jax.nn.softmax(state.params["table"]))
    paths = [(A, A, B), (A, B, B), (A, B, PAD), (A, PAD, B), (PAD, A, B)]
    first = sum(p[0, x] * p[1, y] * p[2, z] for x, y, z in paths)
    second = p[0, A] * p[1, PAD] * p[2, A]
    loss = jax.jit(learner.loss)
    value, metrics = loss(state.params, state, batch | {"mask": np.ones(2, np.float32)})
    assert value == pytest.approx(-(np.log(first) + np.log(second)) / 2, rel=1e-5)
    # A masked example counts neither in the loss nor in the metrics.
    value, metrics = loss(state.params, state, batch | {"mask": np.array([0.0, 1.0], np.float32)})
    assert value == pytest.approx(-np.log(second), rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(-np.log(second), rel=1e-5)


def test_one_update_by_hand():
    """One column and one character: L = -log p[a], whose gradient is p - onehot(a)."""
    learner = text_reading.learner(model=Table(1), optimizer=optax.sgd(0.5), max_length=2)
    batch = batch_of([A], length=3)
    state = learner.init(jax.random.key(1), batch).replace(model_state=PASSED)
    before = np.asarray(state.params["table"])[0]
    p = np.exp(before) / np.exp(before).sum()
    after, _ = jax.jit(learner.update)(state, batch)
    assert passes(after.model_state) == 3 + 1
    np.testing.assert_allclose(after.params["table"][0], before - 0.5 * (p - np.eye(6)[A]), atol=1e-5)
    assert learner.classes(state, batch) == {"captions": 6}


def test_a_path_collapses():
    path = jnp.array(
        [
            [A, A, PAD, A, B, B],  # a a b
            [PAD, PAD, PAD, PAD, PAD, PAD],  # nothing
            [A, PAD, A, PAD, A, B],  # a a a b: the last does not fit
            [PAD, B, B, B, PAD, A],  # b a
        ]
    )
    tokens, length = jax.jit(collapse, static_argnums=1)(path, 4)
    np.testing.assert_array_equal(tokens, [[A, A, B, END], [END, PAD, PAD, PAD], [A, A, A, END], [B, A, END, PAD]])
    np.testing.assert_array_equal(length, [4, 1, 4, 3])


def test_predictions_are_the_most_probable_symbols_without_start_end_and_unknown():
    learner = text_reading.learner(model=Table(3), optimizer=optax.sgd(1.0), max_length=4)
    batch = batch_of([A, B], [A, A])
    state = learner.init(jax.random.key(0), batch)
    table = np.zeros((3, 6), np.float32)
    table[:, [START, END, UNKNOWN]] = 9.0
    table[[0, 1, 2], [A, A, B]] = 1.0
    state = state.replace(params={"table": jnp.asarray(table)})
    outputs = jax.jit(learner.predict)(state, {"image": batch["image"], "index": batch["index"]})
    np.testing.assert_array_equal(outputs["tokens"], [[A, B, END, PAD]] * 2)
    np.testing.assert_array_equal(outputs["length"], [3, 3])
    assert jax.jit(learner.evaluate)(state, batch)["exact_match"].compute() == 0.5  # "ab" is, "aa" is not


def test_the_readers_keep_columns_apart_and_the_attention_of_a_character_is_a_map():
    images = np.zeros((2, 24, 80, 3), np.float32)
    encoder = TextEncoder(8)
    reader = CTCReader(encoder, 6)
    shape = jax.eval_shape(lambda: reader.init_with_output(jax.random.key(0), images))[0].shape
    assert shape == (2, 20, 6)
    model = AttendingReader(encoder, 6, hidden_size=8, alignment_penalty=0.0)
    attention = text_reading.attention_learner(model=model, optimizer=optax.sgd(1.0), max_length=4)
    batch = batch_of([A, B], [A, A]) | {"image": images}
    state = jax.eval_shape(attention.init, jax.random.key(0), batch)
    chex.assert_shape(jax.eval_shape(attention.predict, state, batch)["alignment"], (2, 4, 1, 20))


def test_the_encoder_tells_columns_apart():
    """Of a black image all features are 0; only the added positions differ."""
    encoder = TextEncoder(4)
    images = jnp.zeros((1, 24, 80, 3))
    got = jax.jit(lambda: encoder.init_with_output(jax.random.key(0), images, method="features")[0]["text"])()
    angles = np.arange(20)[:, None] * 10_000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(got[0, 0, :, :8], np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-4)


@pytest.mark.slow
@pytest.mark.weekly(unless=["ctc"])
@pytest.mark.parametrize("reader", ["ctc", "attention"])
def test_training_moves_the_statistics_of_the_batch_norm(reader):
    """The first running mean becomes a tenth of the mean of the first convolution's outputs over the batch."""
    encoder, optimizer = TextEncoder(4), optax.sgd(1.0)
    if reader == "ctc":
        learner = text_reading.learner(model=CTCReader(encoder, 6, 8), optimizer=optimizer, max_length=4)
    else:
        model = AttendingReader(encoder, 6, hidden_size=8, alignment_penalty=0.0)
        learner = text_reading.attention_learner(model=model, optimizer=optimizer, max_length=4)
    name = {"ctc": "encoder", "attention": "backbone"}[reader]
    images = np.random.default_rng(0).normal(size=(2, 8, 16, 3)).astype(np.float32)
    batch = batch_of([A, B], [A, A]) | {"image": images}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    after, _ = jax.jit(learner.update)(state, batch)
    kernel = np.asarray(state.params[name]["convs_0"]["kernel"])  # [3, 3, 3, 4]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # [B, H, W, 3, 3, 3]: channels first
    mean = np.einsum("bhwcij,ijcd->d", patches, kernel) / (2 * 8 * 16)
    np.testing.assert_allclose(after.model_state["batch_stats"][name]["norms_0"]["mean"], 0.1 * mean, atol=1e-5)


@pytest.mark.covers("CP-11")
def test_the_order_of_the_centers_of_attention():
    """Centers at columns 0, 2, 3 rank as 0, 1, 2: 1. At 2, 0, 3: ranks 1, 0, 2, covariance 1/3 of variance 2/3."""
    tokens = np.array([[A, B, A, END], [A, B, A, END], [A, END, PAD, PAD]])
    alignment = np.zeros((3, 4, 2, 4))
    for i, columns in enumerate([(0, 2, 3, 0), (2, 0, 3, 0), (0, 0, 0, 0)]):
        for t, column in enumerate(columns):
            alignment[i, t, :, column] = 0.5
    order = reading_order(tokens, alignment)
    np.testing.assert_allclose(order[:2], [1, 0.5])
    assert np.isnan(order[2])


@pytest.mark.covers("CP-11")
def test_both_losses_train_one_encoder_by_hand():
    """The string "a": attention's targets are a and END, those of CTC's only column a."""
    learner = text_reading.attention_learner(
        model=AttendingTable(), optimizer=optax.sgd(1.0), max_length=2, ctc_weight=0.5
    )
    batch = batch_of([A], length=3)
    state = learner.init(jax.random.key(0), batch)
    before = np.asarray(state.params["table"])
    p = np.exp(before) / np.exp(before).sum()
    value, metrics = jax.jit(learner.loss)(state.params, state, batch)
    assert value == pytest.approx(-(np.log(p[A]) + np.log(p[END])) / 2 - 0.5 * np.log(p[A]), rel=1e-5)
    assert metrics["ctc_exact_match"].compute() == (max(p[A], p[B], p[PAD]) == p[A])
    after, _ = jax.jit(learner.update)(state, batch)
    a, end = np.eye(6)[[A, END]]
    np.testing.assert_allclose(after.params["table"], before - (p - (a + end) / 2) - 0.5 * (p - a), atol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("CP-11")
@pytest.mark.parametrize("reader", ["ctc", "attention"])
def test_a_reader_learns_and_reads_strings_that_it_was_not_trained_on(reader):
    """Two or three of three characters: of the 36 strings ten are kept for the test. Attention moves to the right."""
    unseen = {"147", "471", "711", "177", "414", "741", "774", "44", "71", "17"}
    options = {"alphabet": "147", "lengths": (2, 3), "size": (24, 48)}
    train = text_images(1500, 0, exclude=unseen, **options).arrays
    drawn = text_images(400, 1, **options)
    rows = np.flatnonzero(np.isin(drawn.names, list(unseen)))
    test = {name: values[rows] for name, values in drawn.arrays.items()} | {"index": np.arange(len(rows))}
    steps = {"ctc": 200, "attention": 350}[reader]
    arguments = {
        "optimizer": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, steps))),
        "preprocess": lambda image: image / 128.0 - 1,
        "max_length": 4,
    }
    if reader == "ctc":
        learner = text_reading.learner(model=CTCReader(TextEncoder(16), 7), **arguments)
    else:
        sizes = {"hidden_size": 64, "embedding_dim": 16, "attention_features": 32, "image_features": 64}
        model = AttendingReader(TextEncoder(16), 7, alignment_penalty=0.0, **sizes)
        learner = text_reading.attention_learner(model=model, **arguments)
    rng, update = np.random.default_rng(0), jax.jit(learner.update, donate_argnums=0)
    state = jax.jit(learner.init)(jax.random.key(0), test)
    for _ in range(steps):
        drawn = rng.integers(1500, size=32)
        state, _ = update(state, {name: values[drawn] for name, values in train.items()} | {"index": drawn})
    outputs = jax.device_get(jax.jit(learner.predict)(state, test))
    exact = (outputs["tokens"] == test["captions"][:, 0, 1:]).all(1).mean()
    order = np.nanmean(reading_order(outputs["tokens"], outputs["alignment"])) if reader == "attention" else 1
    assert exact > 0.9
    assert order > 0.9


@pytest.mark.covers("CP-11")
def test_strings_that_do_not_fit_are_refused():
    def check(*options):
        page.experiment.run(resolve(page.experiment, ["--lengths=3,6", *options])).check()

    with pytest.raises(FlagError, match=r"^--max_length=6: strings of 6 characters .* allowed: 7 or more$"):
        check("--max_length=6")
    check("--max_length=7")
    check("--lengths=3,30")


def test_a_reader_learns_by_the_loss_of_its_network(monkeypatch):
    for name in ("learner", "attention_learner"):
        monkeypatch.setattr(text_reading, name, lambda name=name, **options: (name, options))
    encoder, rest = TextEncoder(4), {"optimizer": optax.sgd(1.0), "preprocess": abs, "max_length": 7}
    reader, attending = CTCReader(encoder, 6), AttendingReader(encoder, 6)
    for model, expected in ((reader, ("learner", {})), (attending, ("attention_learner", {"ctc_weight": 0.25}))):
        found = text_reading.reading_learner(model=model, ctc_weight=0.25, **rest)
        assert found == (expected[0], {"model": model, **rest, **expected[1]})


def test_the_wiring_of_the_reader_of_columns_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(CTCReader(TextEncoder(4), 6, 5), (2, 8, 12, 3), [4.16011, 2.9621])
