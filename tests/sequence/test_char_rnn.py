"""Truncated back-propagation by hand, the carry over batches and devices, and a model that learns its text by heart."""

import functools
import itertools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.text import Vocabulary, streams
from dlcore.learner import example_keys
from dlcore.optim import create_optimizer
from dlcore.run import Placement, Saving, evaluate, fit, make_mesh
from dlcore.sequence import char_rnn
from dlcore.sequence.networks import CharRNN


def tokens(rows=2, length=9, size=5, seed=0):
    return np.random.default_rng(seed).integers(0, size, (rows, length)).astype(np.uint8)


def batch(text, **more):
    return {"text": text, "index": np.arange(len(text), dtype=np.int32), **more}


def toy(model, tx=None, **kwargs):
    learner = char_rnn.learner(model=model, optimizer=tx or optax.sgd(0.5), **{"chunk_length": 4, **kwargs})
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "update", "evaluate", "predict")})


def started(learner, text, seed=0):
    """A state at step 0 whose parameters are not zero, so that every gradient is there; nothing is compiled."""
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    shapes = jax.eval_shape(learner.init, key, batch(text)).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), state.params)
    return state.replace(rng=key, streams=text, params=params)


def nats_by_hand(params, carry, text):
    """An RNN over one-hot characters in plain numpy style: ([B, T] nats, h)."""
    layer, head = params["recurrent"]["layer0"], params["head"]
    (h,) = carry[0]
    losses = []
    for t in range(text.shape[1] - 1):
        a = layer["input_kernel"][text[:, t]] + layer["input_bias"] + h @ layer["hidden_kernel"] + layer["hidden_bias"]
        h = jnp.tanh(a)
        logits = h @ head["kernel"] + head["bias"]
        losses.append(-jax.nn.log_softmax(logits)[jnp.arange(len(text)), text[:, t + 1]])
    return jnp.stack(losses, 1), h


@pytest.mark.covers("SQ-10")
def test_a_chunk_of_everything_is_full_back_propagation():
    model, text = CharRNN(5, 3, cell="rnn"), tokens(length=4)
    learner = toy(model, optax.sgd(0.5), chunk_length=3)
    state = started(learner, text)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_by_hand(params):
        nats, h = nats_by_hand(params, state.carry, text)
        return nats.mean(), (nats, h)

    gradient, (nats, h) = gradient_by_hand(state.params)
    want = jax.tree.map(lambda p, g: np.asarray(p) - 0.5 * np.asarray(g), state.params, gradient)
    # A pass starts from a carry of zeros, whatever the last one left.
    left = state.replace(carry=jax.tree.map(lambda h: h + 1, state.carry))
    after, metrics = learner.update(left, batch(text))
    chex.assert_trees_all_close(after.params, want, atol=1e-6)
    nats = np.asarray(nats)
    np.testing.assert_allclose(after.carry[0][0], h, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(float(nats.mean()), rel=1e-5)
    assert metrics["perplexity"].compute() == pytest.approx(float(np.exp(nats.mean())), rel=1e-5)


@pytest.mark.slow
def test_the_loss_is_that_of_the_first_chunk_from_a_zero_carry_without_padding():
    """`loss` by hand: 4 characters of 2 of the 3 rows, whatever the state carries."""
    model, text = CharRNN(5, 3, cell="rnn"), tokens(3)
    learner = toy(model, chunk_length=4)
    state = started(learner, text)
    carry = model.start(3)
    nats, _ = nats_by_hand(state.params, carry, text[:, :5])
    rows = batch(text, mask=np.array([1, 1, 0], np.float32))
    value, metrics = learner.loss(state.params, state.replace(carry=jax.tree.map(lambda h: h + 1, state.carry)), rows)
    assert float(value) == pytest.approx(float(nats[:2].mean()), rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(float(nats[:2].mean()), rel=1e-5)
    assert float(learner.loss(state.params, state, batch(text))[0]) == pytest.approx(float(nats.mean()), rel=1e-5)


@pytest.mark.covers("SQ-10")
def test_the_state_passes_from_chunk_to_chunk_and_the_gradient_does_not():
    # Token 4 comes in the first chunk alone: its embedding shapes the second chunk's loss through the carry, but gets
    # no gradient from it.
    text = np.array([[4, 0, 4, 1, 2, 0, 3, 1, 2]], np.uint8)
    model = CharRNN(5, 3, cell="rnn", embedding_dim=3)
    learner = toy(model, optax.sgd(0.5))
    state = started(learner, text)
    first, _ = learner.update(state, batch(text))
    second, metrics = learner.update(first, batch(text))
    table = [np.asarray(s.params["embed"]["embedding"]) for s in (state, first, second)]
    assert (table[1][4] != table[0][4]).any()
    np.testing.assert_array_equal(table[2][4], table[1][4])
    assert (table[2][2] != table[1][2]).any()

    def through(h):
        params = jax.tree.map(np.asarray, first.params)
        layer, head, losses = params["recurrent"]["layer0"], params["head"], []
        for token, target in itertools.pairwise(text[0, 4:]):
            entered = params["embed"]["embedding"][token] @ layer["input_kernel"] + layer["input_bias"]
            h = np.tanh(entered + h @ layer["hidden_kernel"] + layer["hidden_bias"])
            scores = h @ head["kernel"] + head["bias"]
            losses.append(np.log(np.exp(scores).sum()) - scores[target])
        return np.mean(losses)

    (h,) = first.carry[0]
    assert metrics["loss"].compute() == pytest.approx(through(np.asarray(h)[0]), rel=1e-5)
    assert metrics["loss"].compute() != pytest.approx(through(np.zeros(3)), rel=1e-5)


def test_chunks_go_through_the_streams_and_start_over_one_further_on():
    text = np.arange(10)[None]  # nine targets: two chunks of four, one to spare
    seen = [char_rnn.chunk_at(text, jnp.int32(step), 4) for step in range(6)]
    np.testing.assert_array_equal([s[0][0, 0] for s in seen], [0, 4, 1, 5, 0, 4])
    np.testing.assert_array_equal([s[1] for s in seen], [True, False] * 3)
    np.testing.assert_array_equal(seen[3][0][0], [5, 6, 7, 8, 9])
    with pytest.raises(ValueError, match="chunk_length=10: longer than a stream; allowed: at most 9"):
        char_rnn.chunk_at(text, 0, 10)


@pytest.mark.slow
def test_a_pass_starts_from_a_zero_carry():
    text = tokens()
    learner = toy(CharRNN(5, 3), optax.sgd(0.0))
    state = started(learner, text)
    losses = []
    for _ in range(4):
        state, metrics = learner.update(state, batch(text))
        losses.append(metrics["loss"].compute())
    assert losses[2:] == losses[:2]
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_evaluation_reads_every_row_to_its_end_whatever_the_chunk():
    text, length = tokens(3, 12), np.array([11, 11, 6], np.int32)
    model = CharRNN(5, 3, cell="rnn")
    state = started(toy(model), text)
    rows = batch(text, length=length, mask=np.array([1, 0, 1], np.float32))
    nats = np.asarray(nats_by_hand(state.params, state.carry, text)[0], np.float64)
    want = np.r_[nats[0], nats[2, :6]].mean()
    for chunk in (3, 4, 11):
        metrics = toy(model, chunk_length=chunk).evaluate(state, rows)
        assert metrics["loss"].compute() == pytest.approx(want, rel=1e-5)
        assert int(metrics["loss"].count) == 17
        assert metrics["bits"].compute() == pytest.approx(want / np.log(2), rel=1e-5)


@pytest.mark.slow
@pytest.mark.weekly(unless=["rnn"])
@pytest.mark.covers("SQ-07", "SQ-16")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_small_text_is_learnt_by_heart_and_written_down_again(cell):
    text = "hello world, hello there. " * 8
    vocabulary = Vocabulary.of(text)
    source = streams(vocabulary.encode(text), 4)
    learner = toy(
        CharRNN(len(vocabulary.characters), 32, cell=cell),
        create_optimizer("adam", 0.02, clip_norm=1.0),
        chunk_length=16,
        sample_length=30,
        stop_token=vocabulary.characters.index("."),
    )
    rows = source[np.arange(4)]
    state = learner.init(jax.random.key(0), rows)
    for _ in range(150):
        state, _ = learner.update(state, rows)
    metrics = learner.evaluate(state, rows)
    assert metrics["perplexity"].compute() < 1.5  # a uniform guess: 13
    prompts = np.tile(vocabulary.encode(". hello w"), (2, 1))
    out = learner.predict(state, batch(text=prompts, prompt=prompts, temperature=np.zeros(2, np.float32)))
    assert vocabulary.decode(out["tokens"][0][: out["length"][0]]) == "orld, hello there."


@pytest.mark.slow
def test_drawn_samples_depend_on_the_index_alone():
    text = tokens(4)
    learner = toy(CharRNN(5, 3), sample_length=12)
    state = started(learner, text)
    prompts = text[:, :2]
    rows = {"prompt": prompts, "index": np.arange(4, dtype=np.int32)}
    together = learner.predict(state, rows)["tokens"]
    alone = learner.predict(state, {k: v[2:3] for k, v in rows.items()})["tokens"]
    np.testing.assert_array_equal(together[2], alone[0])
    assert len({tuple(map(int, row)) for row in together}) == 4


# The contract


def runs(spmd, devices, folder=None, steps=4, seed=0):
    source = streams(tokens(1, 8 * 9 + 1, seed=3)[0], 8)
    placement = Placement(make_mesh(f"data:{devices}", jax.devices()[:devices]), spmd=spmd)
    learner = char_rnn.learner(model=CharRNN(5, 6, 1, "lstm"), optimizer=optax.sgd(0.5), chunk_length=4)
    result = fit(
        learner,
        Pipeline(source, 8, seed),
        steps=steps,
        placement=placement,
        progress=False,
        folder=folder,
        saving=Saving(steps=1),
    )
    return learner, source, result


def plain(state):
    return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    learner, source, one = runs("jit", 1)
    _, _, eight = runs(spmd, 8)
    chex.assert_trees_all_close(plain(one.state), plain(eight.state), atol=1e-6)
    values = [
        evaluate(learner, plain(one.state).replace(rng=one.state.rng), source, batch_size=size, placement=place)
        for size, place in ((3, Placement(make_mesh("data:1", jax.devices()[:1]))), (8, Placement(make_mesh("data:8"))))
    ]
    assert values[0]["loss"] == pytest.approx(values[1]["loss"], rel=1e-6)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical(tmp_path):
    _, _, whole = runs("jit", 1, tmp_path / "whole")
    runs("jit", 1, tmp_path / "cut", steps=2)
    _, _, resumed = runs("jit", 1, tmp_path / "cut")
    chex.assert_trees_all_equal(plain(whole.state), plain(resumed.state))


@pytest.mark.slow
def test_the_order_of_later_batches_does_not_matter():
    text = tokens(3)
    learner = toy(CharRNN(5, 3))
    state = started(learner, text)
    shuffled = batch(text[::-1])
    chex.assert_trees_all_equal(learner.update(state, batch(text))[0].params, learner.update(state, shuffled)[0].params)


class Noisy(nn.Module):
    """Logits that are equal, plus noise where there is a key for dropout."""

    @staticmethod
    def start(batch_size):
        return jnp.zeros(batch_size)

    @nn.compact
    def __call__(self, carry, tokens):
        logits = self.param("logits", nn.initializers.zeros, (5,)) + jnp.zeros((*tokens.shape, 5))
        if self.has_rng("dropout"):
            logits += jax.random.normal(self.make_rng("dropout"), logits.shape)
        return carry, logits


@pytest.mark.covers("SQ-10")
def test_training_has_a_key_of_dropout_for_each_step_and_evaluation_has_none():
    text = np.zeros((2, 9), np.uint8)
    learner = toy(Noisy(), optax.sgd(0.0))
    state, losses, update = jax.jit(learner.init)(jax.random.key(0), batch(text)), [], jax.jit(learner.update)
    for _ in range(3):
        state, metrics = update(state, batch(text))
        losses.append(float(metrics["loss"].compute()))
    assert len({round(loss, 4) for loss in losses}) == 3
    evaluated, loss = jax.jit(lambda s, b: (learner.evaluate(s, b), learner.loss(s.params, s, b)[0]))(
        state, batch(text)
    )
    assert evaluated["loss"].compute() == pytest.approx(np.log(5), rel=1e-6)
    assert loss == pytest.approx(np.log(5), rel=1e-6)


def test_a_row_of_padding_does_not_count():
    """Nine targets are two chunks of four and one alone; the loss is that of the first chunk, from a carry of zeros."""
    text = tokens(length=10)
    learner = toy(CharRNN(5, 4, cell="rnn", num_layers=1))
    state = started(learner, text)
    state = state.replace(carry=jax.tree.map(lambda h: h + 1, state.carry))
    padded, whole = (learner.evaluate(state, batch(text, mask=np.float32(mask)))["loss"] for mask in ([1, 0], [1, 1]))
    nats, _ = nats_by_hand(state.params, [(jnp.zeros((2, 4)),)], text)
    assert padded.compute() == pytest.approx(float(nats[0].mean()), rel=1e-5)
    assert whole.compute() == pytest.approx(float(nats.mean()), rel=1e-5)
    value, _ = jax.jit(learner.loss)(state.params, state, batch(text, mask=np.float32([1, 0])))
    assert float(value) == pytest.approx(float(nats[0, :4].mean()), rel=1e-5)


class Counting(nn.Module):
    """The carry counts what was read; the next token is the last one plus the count, modulo 7."""

    vocab_size: int = 7

    def start(self, batch):
        return np.zeros(batch, int)

    @nn.compact
    def __call__(self, carry, tokens):
        gain = self.param("gain", nn.initializers.ones, ())
        count = carry[:, None] + 1 + np.arange(tokens.shape[1])
        return count[:, -1], np.asarray(gain) * np.eye(7)[(tokens + count) % 7]


def test_a_sample_continues_its_prompt_or_else_the_first_token(monkeypatch):
    """After the prompt (4, 1) the count is 2: the next are 1 + 2 = 3 and 3 + 3 = 6."""

    def generate(step, carry, logits, keys, *options):
        asked.append((jax.random.key_data(keys), options))
        carry, after = step(carry, logits.argmax(-1))
        return np.stack([logits.argmax(-1), after.argmax(-1)], 1), "length"

    asked = []
    monkeypatch.setattr(char_rnn, "generate", generate)
    learner = char_rnn.learner(
        model=Counting(), optimizer=optax.sgd(0.5), chunk_length=2, sample_length=3, stop_token=6
    )
    text = np.array([[4, 1, 0], [2, 5, 0]], np.uint8)
    state = SimpleNamespace(params={"gain": np.float32(5)}, rng=jax.random.key(0))
    out = learner.predict(state, batch(text, prompt=text[:, :2], temperature=0.25))
    np.testing.assert_array_equal(out["tokens"], [[3, 6], [0, 3]])
    assert out["length"] == "length"
    np.testing.assert_array_equal(learner.predict(state, batch(text))["tokens"], [[5, 0], [3, 5]])
    assert [options for _, options in asked] == [(3, 0.25, 6), (3, 1.0, 6)]
    keys = jax.random.key_data(example_keys(state.rng, batch(text)))
    for found, _ in asked:
        np.testing.assert_array_equal(found, keys)
    assert learner.classes(state, batch(text)) == {"text": 7}
