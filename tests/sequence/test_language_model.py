"""A small GPT: its loss by hand, its cache, windows that move and slide, and a text that it learns by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.text import Vocabulary, training_windows, windows
from dlcore.learner import State
from dlcore.models.gpt2 import GPT2
from dlcore.optim import create_optimizer
from dlcore.sequence import language_model
from dlcore.sequence.language_model import continue_text


def gpt(window=8, vocab=7, **fields):
    return GPT2(vocab, window, **{"num_layers": 2, "num_heads": 2, "width": 8, **fields})


def drawn(model, seed=0):
    """Parameters large enough that every part of the network shows in its logits."""
    variables = model.init(jax.random.key(seed), jnp.zeros((1, 2), int))
    return jax.tree.map(lambda x: 8 * x if x.ndim > 1 else x, variables)


def tokens(*shape, seed=0, vocab=7):
    return np.random.default_rng(seed).integers(0, vocab, shape).astype(np.uint8)


def keys(n):
    return jax.random.split(jax.random.key(0), n)


def naive(model, variables, prompt, count):
    """Greedy continuation of one prompt that reads everything again for each token."""
    run = jax.jit(lambda text: model.apply(variables, text))
    found = list(map(int, prompt))
    for _ in range(count):
        padded = np.zeros(model.window, int)
        padded[: len(found)] = found
        found.append(int(run(padded[None])[0, len(found) - 1].argmax()))
    return found[len(prompt) :]


@pytest.mark.weekly
@pytest.mark.covers("AT-16")
def test_logits_with_a_cache_are_those_without_for_prompts_of_several_lengths():
    model = gpt()
    variables, text = drawn(model), tokens(3, 8)
    whole = model.apply(variables, text)
    lengths = jnp.array([2, 5, 1])
    cache, logits = model.apply(variables, text[:, :5], lengths, model.init_cache(3), method="prefill")
    rows = np.arange(3)
    np.testing.assert_allclose(logits, whole[rows, lengths - 1], atol=1e-5 * np.abs(whole).max())
    for t in range(3):
        logits, cache = model.apply(variables, text[rows, lengths + t][:, None], cache=cache)
        np.testing.assert_allclose(logits[:, 0], whole[rows, lengths + t], atol=1e-5 * np.abs(whole).max())
    np.testing.assert_array_equal(cache[0]["self"].length, lengths + 3)


@pytest.mark.slow
@pytest.mark.covers("AT-16", "SQ-14")
def test_greedy_continuations_are_those_of_reading_everything_again():
    model, text = gpt(12), tokens(3, 4)
    variables, lengths = drawn(model), np.array([4, 1, 3])
    run = jax.jit(lambda text: continue_text(model, variables, text, lengths, keys(3), 8, temperature=0))
    out, _ = run(text)
    for row, prompt, n in zip(out, text, lengths, strict=True):
        assert list(map(int, row)) == naive(model, variables, prompt[:n], 8)


@pytest.mark.weekly
def test_a_full_window_goes_on_from_its_last_half():
    model, text = gpt(6), tokens(2, 5)
    variables, lengths = drawn(model), np.array([5, 2])
    out, _ = jax.jit(lambda text: continue_text(model, variables, text, lengths, keys(2), 9, temperature=0))(text)
    for row in range(2):
        kept = list(map(int, text[row, : lengths[row]]))
        for t in range(9):
            token = int(out[row, t])
            assert token == naive(model, variables, kept, 1)[0], (row, t)
            # A row is cut when it is full, whatever its neighbors are.
            kept = [*(kept[-3:] if len(kept) >= 6 else kept), token]


@pytest.mark.weekly
@pytest.mark.covers("AT-16")
def test_no_logit_depends_on_a_later_token():
    model = gpt()
    variables = drawn(model)
    # Token t has row t of the embedding for itself: the derivative by it is 0 in the features before t.
    features = jax.jacobian(
        lambda e: model.apply(
            {"params": {**variables["params"], "wte": {"embedding": e}}}, jnp.arange(6)[None], method="features"
        )
    )(variables["params"]["wte"]["embedding"])
    reach = np.abs(features[0]).sum((1, 3))  # [T, V]
    assert (reach[np.triu_indices(6, 1)] == 0).all()
    assert (reach[np.tril_indices(6)] > 0).all()


@pytest.mark.weekly
def test_the_loss_is_a_mean_over_the_tokens_that_are_a_rows_own():
    model = gpt(5)
    learner = language_model.learner(model=model, optimizer=optax.sgd(0.1))
    source = windows(tokens(14), 5, 3)
    rows = source[np.arange(len(source))]
    state = learner.init(jax.random.key(0), rows)
    state = state.replace(params=drawn(model)["params"])
    log_p = jax.nn.log_softmax(model.apply({"params": state.params}, rows["text"][:, :-1]))
    nats = -np.take_along_axis(np.asarray(log_p), rows["text"][:, 1:, None].astype(int), 2)[..., 0]
    keep = [list(range(f, n)) for f, n in zip(rows["first"], rows["length"], strict=True)]
    want = np.concatenate([row[k] for row, k in zip(nats, keep, strict=True)])
    assert len(want) == 13
    metrics = learner.evaluate(state, rows)
    assert metrics["loss"].compute() == pytest.approx(want.mean(), rel=1e-5)
    assert int(metrics["loss"].count) == 13
    half = learner.evaluate(state, {**rows, "mask": np.arange(len(source)) < 1})
    assert half["loss"].compute() == pytest.approx(nats[0][keep[0]].mean(), rel=1e-5)


@pytest.mark.weekly
def test_each_step_moves_its_windows_and_never_out_of_a_row():
    """With one token repeated in a row, the loss shows which row was read; places come from step and index alone."""
    model = gpt(4)
    learner = language_model.learner(model=model, optimizer=optax.sgd(0.0))
    source = training_windows(tokens(40), 4)
    rows = source[np.arange(4)]
    state = learner.init(jax.random.key(0), rows)
    state = state.replace(params=drawn(model)["params"])
    losses = []
    for _ in range(6):
        state, metrics = jax.jit(learner.update)(state, rows)
        losses.append(metrics["loss"].compute())
    assert len(set(losses)) > 3
    short = {**rows, "text": rows["text"][:, :5]}
    first = learner.update(state, short)[1]["loss"].compute()
    assert first == pytest.approx(learner.evaluate(state, short)["loss"].compute(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-16")
def test_a_small_text_is_learnt_far_below_its_unigram_entropy_and_written_down_again():
    text = "hello world, hello there. " * 8
    vocabulary = Vocabulary.of(text)
    encoded = vocabulary.encode(text)
    learner = language_model.learner(
        model=gpt(16, len(vocabulary.characters), num_layers=1, width=32),
        optimizer=create_optimizer("adamw", 0.01),
        sample_length=30,
        stop_token=vocabulary.characters.index("."),
    )
    source = training_windows(encoded, 16)
    rows = source[np.arange(len(source))]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    update = jax.jit(learner.update)
    for _ in range(150):
        state, _ = update(state, rows)
    share = np.bincount(encoded) / len(encoded)
    unigram = -(share * np.log(share)).sum()
    assert learner.evaluate(state, rows)["loss"].compute() < 0.2 * unigram
    prompts = np.stack([vocabulary.encode(". hello w"), np.pad(vocabulary.encode("hello t"), (0, 2))])
    batch = {"prompt": prompts, "prompt_length": np.array([9, 7]), "index": np.arange(2), "temperature": np.zeros(2)}
    out = jax.jit(learner.predict)(state, batch)
    written = [vocabulary.decode(t[:n]) for t, n in zip(out["tokens"], out["length"], strict=True)]
    assert written == ["orld, hello there.", "here."]


def test_rows_that_hold_no_window_are_refused():
    made = language_model.learner(model=gpt(), optimizer=optax.sgd(0.1))
    short, rng = {"text": tokens(2, 8), "index": np.arange(2)}, jax.random.key(0)
    problem = r"text=\[2, 8\]: rows of 8 tokens; allowed: at least 9, the window of 8 tokens and the one that follows"
    with pytest.raises(ValueError, match=problem):
        jax.eval_shape(made.init, rng, short)


class Bigrams(nn.Module):
    """The next token's logits by a row for the token before."""

    window: int = 3

    @nn.compact
    def __call__(self, tokens, train=False):
        return self.param("rows", nn.initializers.zeros, (5, 5))[tokens]


def test_one_update_by_hand():
    """A window of each row at its own place; the first target of the second row and the third row do not count."""
    rate, draws = 0.5, np.random.default_rng(0)
    learner = language_model.learner(model=Bigrams(), optimizer=optax.sgd(rate))
    before = {"rows": draws.normal(size=(5, 5)).astype(np.float32)}
    text = draws.integers(0, 5, (3, 9)).astype(np.uint8)
    batch = {"text": text, "index": np.array([4, 7, 9]), "first": np.array([0, 1, 0]), "mask": np.float32([1, 1, 0])}
    state = State(np.int32(2), jax.random.key(3), before, optax.sgd(rate).init(before))
    after, metrics = jax.jit(learner.update)(state, batch)

    @jax.jit
    def expected(rows):
        moves = jax.random.split(jax.random.fold_in(jax.random.key(3), 2))[0]
        starts = jnp.stack([jax.random.randint(jax.random.fold_in(moves, i), (), 0, 6) for i in (4, 7)])
        tokens = jnp.asarray(text[:2], int)[jnp.arange(2)[:, None], starts[:, None] + jnp.arange(4)]
        counts = jnp.array([[1, 1, 1], [0, 1, 1]])

        def loss(rows):
            log_p = jnp.log(jnp.exp(rows) / jnp.exp(rows).sum(1, keepdims=True))
            return -(counts * log_p[tokens[:, :-1], tokens[:, 1:]]).sum() / 5

        return rows - rate * jax.grad(loss)(rows), loss(rows)

    new, loss = expected(before["rows"])
    np.testing.assert_allclose(after.params["rows"], new, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(float(loss), rel=1e-5)


def test_an_evaluation_by_hand_reads_the_first_window():
    """Targets from `first` to `length` of rows that count: 2 of the first row, 1 of the second."""
    rows = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    text = np.array([[0, 1, 2, 3, 4, 4], [3, 3, 0, 1, 2, 2], [1, 1, 1, 1, 1, 1]])
    batch = {"text": text, "index": np.arange(3), "first": np.array([1, 0, 0]), "length": np.array([3, 1, 3])}
    batch["mask"] = np.float32([1, 1, 0])
    learner = language_model.learner(model=Bigrams(), optimizer=optax.sgd(0.1))
    state = State(np.int32(0), jax.random.key(0), {"rows": rows}, None)
    metrics, (loss, _) = jax.jit(lambda: (learner.evaluate(state, batch), learner.loss(state.params, state, batch)))()
    log_p = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    pairs = [(1, 2), (2, 3), (3, 3)]
    by_hand = -np.mean([log_p[pair] for pair in pairs])
    assert metrics["loss"].compute() == pytest.approx(by_hand, rel=1e-5)
    assert int(metrics["loss"].count) == 3
    assert metrics["accuracy"].compute() == pytest.approx(np.mean([rows[a].argmax() == b for a, b in pairs]))
    assert float(loss) == pytest.approx(by_hand, rel=1e-5)
    assert learner.classes(state, batch) == {}
    sized = language_model.learner(model=GPT2(7, 8), optimizer=optax.sgd(0.1))
    assert sized.classes(state, batch) == {"text": 7}


def test_dropout_is_applied_in_training_alone(monkeypatch):
    calls = []

    class Noisy(Bigrams):
        def __call__(self, tokens, train=False):
            calls.append((train, self.has_rng("dropout")))
            return jnp.zeros((*tokens.shape, 5))

    learner = language_model.learner(model=Noisy(), optimizer=optax.sgd(0.1))
    state = State(np.int32(0), jax.random.key(0), {}, optax.sgd(0.1).init({}))
    batch = {"text": np.zeros((1, 4), int), "index": np.arange(1)}
    jax.eval_shape(learner.update, state, batch)
    jax.eval_shape(learner.evaluate, state, batch)
    assert calls == [(True, True), (False, False)]


def test_predict_passes_the_prompt_and_its_settings_on(monkeypatch):
    calls = []

    def continued(model, variables, prompt, lengths, keys, max_length, **settings):
        calls.append((variables, np.asarray(prompt).tolist(), np.asarray(lengths).tolist(), max_length, settings))
        return "tokens", "lengths"

    monkeypatch.setattr(language_model, "continue_text", continued)
    learner = language_model.learner(
        model=Bigrams(), optimizer=optax.sgd(0.1), sample_length=9, top_k=2, top_p=0.5, stop_token=4
    )
    state = State(np.int32(0), jax.random.key(0), "weights", None)
    text, index = np.array([[3, 1], [2, 0]]), np.arange(2)
    assert learner.predict(state, {"text": text, "index": index}) == {"tokens": "tokens", "length": "lengths"}
    given = {"prompt": text, "prompt_length": np.array([1, 2]), "temperature": 0.5, "index": index}
    learner.predict(state, given)
    variables, settings = {"params": "weights"}, {"stop_token": 4, "top_k": 2, "top_p": 0.5}
    assert calls == [
        (variables, [[3], [2]], [1, 1], 9, {"temperature": 1.0, **settings}),
        (variables, [[3, 1], [2, 0]], [1, 2], 9, {"temperature": 0.5, **settings}),
    ]


class Summing:
    """The next token is one more than the sum of all that the cache holds, modulo 7."""

    window = 6

    def init_cache(self, batch, capacity):
        return jnp.zeros((batch, capacity), int), jnp.zeros(batch, int)

    def _logits(self, cache):
        table, length = cache
        return jax.nn.one_hot((jnp.where(jnp.arange(table.shape[1]) < length[:, None], table, 0).sum(1) + 1) % 7, 7)

    def apply(self, variables, tokens, lengths=None, cache=None, method=None):
        table, count = cache
        if method == "prefill":
            cache = table.at[:, : tokens.shape[1]].set(tokens), lengths
            return cache, self._logits(cache)
        cache = table.at[jnp.arange(len(table)), count].set(tokens[:, 0]), count + 1
        return self._logits(cache)[:, None], cache


@pytest.mark.parametrize("count", [4, 9])
def test_a_text_that_fits_is_continued_at_once_and_a_longer_one_from_the_last_half(count):
    """Two prompts of 3 and 1 tokens in a window of 6; a full row keeps its last 3 tokens."""
    prompt, lengths = np.array([[1, 2, 4], [5, 0, 0]]), np.array([3, 1])
    out, length = jax.jit(lambda: continue_text(Summing(), {}, prompt, lengths, keys(2), count, temperature=0))()
    for row in range(2):
        kept, written = list(prompt[row, : lengths[row]]), []
        for _ in range(count):
            written.append((sum(kept) + 1) % 7)
            kept = [*(kept[-3:] if len(kept) == 6 else kept), written[-1]]
        assert out[row].tolist() == written
    assert length.tolist() == [count, count]


def test_a_window_of_one_token_goes_on_from_the_last_one_alone():
    """The next token is one more than the last: 3, 4, 5, 6, 0 and 5, 6, 0, 1, 2."""

    class Last(Summing):
        window = 1

    prompt, lengths = np.array([[3], [5]]), np.array([1, 1])
    out, _ = jax.jit(lambda: continue_text(Last(), {}, prompt, lengths, keys(2), 4, temperature=0))()
    np.testing.assert_array_equal(out, [[4, 5, 6, 0], [6, 0, 1, 2]])
