"""Sequence to sequence: the loss by hand, decoding equal to teacher forcing, beams, and strings that are learned."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.strings import strings
from dlcore.data.words import END, PAD, START, UNKNOWN, pad_sequences
from dlcore.learner import State, Sum
from dlcore.models.transformer import Transformer
from dlcore.ops.replica import REPLICA
from dlcore.sequence import seq2seq
from dlcore.sequence.decoding import Beam
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder
from tests.random_weights import random_like

V = 9
MODELS = {
    "none": RecurrentEncoderDecoder(V, None, "none", 6, 4),
    "additive": RecurrentEncoderDecoder(V, None, "additive", 6, 4),
    "transformer": Transformer(V, None, 8, 2, 16, 1, 2, dropout_rate=0.0, pre_norm=True),
}
PAIRS = {
    "source": pad_sequences([[4, 5, 6], [7], [8, 8]], start=False),
    "target": pad_sequences([[6, 5, 4], [7, 7], [8]]),
    "index": np.arange(3, dtype=np.int32),
}


@pytest.fixture(scope="module")
def states():
    """Random parameters of each model, so that all logits differ."""

    def draw(model):
        shapes = jax.eval_shape(model.init, jax.random.key(0), PAIRS["source"], PAIRS["target"][:, :-1])["params"]
        return State(jnp.zeros((), jnp.int32), jax.random.key(2), random_like(shapes, 0.6), ())

    class WhenAsked(dict):
        def __missing__(self, name):
            self[name] = draw(MODELS[name])
            return self[name]

    return WhenAsked()


def toy(name, **kwargs):
    return seq2seq.learner(model=MODELS[name], optimizer=optax.sgd(0.1), **kwargs)


FORCED = {
    name: jax.jit(lambda params, *rest, m=model: m.apply({"params": params}, *rest)) for name, model in MODELS.items()
}


def forced(name, state, source, tokens):
    return FORCED[name](state.params, source, tokens)


def wider(x, columns):
    return np.pad(x, ((0, 0), (0, columns)))


@pytest.mark.slow
@pytest.mark.weekly(unless=["0.1"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_the_tokens_of_all_targets(states, smoothing):
    """By hand: 4 + 3 tokens (END counts, PAD and the masked third row do not)."""
    state = states["additive"]
    log_p = np.asarray(jax.nn.log_softmax(forced("additive", state, PAIRS["source"], PAIRS["target"][:, :-1])))
    tokens = [(0, 0, 6), (0, 1, 5), (0, 2, 4), (0, 3, END), (1, 0, 7), (1, 1, 7), (1, 2, END)]
    nats = np.mean([-log_p[at] for at in tokens])
    smooth = np.mean([-log_p[i, t].mean() for i, t, _ in tokens])
    batch = PAIRS | {"mask": np.array([1, 1, 0], np.float32)}
    value, metrics = toy("additive", label_smoothing=smoothing).loss(state.params, state, batch)
    assert float(value) == pytest.approx((1 - smoothing) * nats + smoothing * smooth, rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(nats, rel=1e-5)  # without the smoothing
    assert int(metrics["accuracy"].count) == 7


@pytest.mark.weekly
@pytest.mark.covers("SQ-12", "SQ-13", "AT-15")
@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(states, name):
    learner, state = toy(name), states[name]
    wide = PAIRS | {"source": wider(PAIRS["source"], 3), "target": wider(PAIRS["target"], 2)}

    @jax.jit
    def value(batch):
        return jax.value_and_grad(lambda params: learner.loss(params, state, batch)[0])(state.params)

    (loss, gradient), (wide_loss, wide_gradient) = value(PAIRS), value(wide)
    assert float(wide_loss) == pytest.approx(float(loss), rel=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wide_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.weekly(unless=["additive", "none"])
@pytest.mark.slow(unless=["additive"])
@pytest.mark.covers("SQ-12", "SQ-13", "AT-15")
@pytest.mark.parametrize("name", MODELS)
def test_steps_with_a_carry_equal_teacher_forcing(states, name):
    """Token by token, from the cache or the state, as all at once; and the source matters."""
    model, state = MODELS[name], states[name]
    variables, tokens = {"params": state.params}, PAIRS["target"][:, :-1]
    want = forced(name, state, PAIRS["source"], tokens)
    encode = functools.partial(model.apply, method="encode")
    begin = jax.jit(lambda v, source: model.apply(v, encode(v, source), 4, method="start"))
    carry, got = begin(variables, PAIRS["source"]), []
    assert {len(leaf) for leaf in jax.tree.leaves(carry)} == {3}
    step = jax.jit(lambda carry, token: model.apply(variables, carry, token, method="step"))
    for t in range(tokens.shape[1]):
        carry, logits = step(carry, tokens[:, t])
        got.append(logits)
    np.testing.assert_allclose(np.stack(got, 1), want, atol=1e-5)
    assert np.abs(forced(name, state, PAIRS["source"][::-1], tokens) - want)[0].max() > 0.1


@pytest.mark.slow
@pytest.mark.weekly(only=["transformer"])
@pytest.mark.covers("SQ-12", "SQ-13", "AT-15")
@pytest.mark.parametrize("name", MODELS)
def test_prediction_is_greedy_and_ends(states, name):
    """Against a loop that runs the whole prefix through the model for each token."""
    state, tokens = states[name], np.full((3, 1), START)
    for _ in range(6):
        logits = np.array(forced(name, state, PAIRS["source"], np.pad(tokens, ((0, 0), (0, 7 - tokens.shape[1])))))
        logits = logits[:, tokens.shape[1] - 1]
        logits[:, [PAD, START, UNKNOWN]] = -np.inf
        tokens = np.concatenate([tokens, logits.argmax(-1)[:, None]], 1)
    tokens = tokens[:, 1:]
    length = np.where((tokens == END).any(1), (tokens == END).argmax(1) + 1, 6)
    out = jax.jit(toy(name, max_length=6).predict)(state, {k: PAIRS[k] for k in ("source", "index")})
    np.testing.assert_array_equal(out["length"], length)
    np.testing.assert_array_equal(out["tokens"], np.where(np.arange(6) < length[:, None], tokens, PAD))
    if name == "none":
        assert "alignment" not in out
    else:
        chex.assert_shape(out["alignment"], (3, 6, 4))
        np.testing.assert_allclose(out["alignment"].sum(-1), 1, atol=1e-5)
        np.testing.assert_allclose(out["alignment"][1, :, 2:], 0, atol=1e-6)  # behind `w END`


@pytest.mark.weekly
def test_a_wide_beam_finds_the_most_probable_output(states):
    """Of all that end within two tokens: END, or one of five words and END."""
    state = states["transformer"]
    outputs = np.array([[END, PAD], *([word, END] for word in range(4, V))])
    scores = []
    for tokens in outputs:
        inputs = np.tile([START, tokens[0]], (3, 1))
        logits = np.array(forced("transformer", state, PAIRS["source"], inputs))
        logits[..., [PAD, START, UNKNOWN]] = -np.inf
        log_p = np.asarray(jax.nn.log_softmax(logits))
        scores.append(sum(log_p[:, t, token] for t, token in enumerate(tokens) if token != PAD))
    rows = {k: PAIRS[k] for k in ("source", "index")}
    out = jax.jit(toy("transformer", max_length=2, beam=Beam(8)).predict)(state, rows)
    np.testing.assert_array_equal(out["tokens"], outputs[np.argmax(scores, 0)])
    chex.assert_shape(out["alignment"], (3, 2, 4))


@pytest.mark.weekly
def test_below_full_teacher_forcing_the_model_reads_its_own_choices(states):
    """At a share of 0, by hand: the choices of a first pass are the inputs of the second, START stays, no gradient."""
    state = states["none"].replace(opt_state=optax.sgd(0.1).init(states["none"].params))
    inputs, targets = PAIRS["target"][:, :-1], PAIRS["target"][:, 1:]
    logits = np.array(forced("none", state, PAIRS["source"], inputs))
    logits[..., [PAD, START, UNKNOWN]] = -np.inf
    own = np.concatenate([inputs[:, :1], logits.argmax(-1)[:, :-1]], 1)
    own = np.where(inputs == PAD, PAD, own)

    def loss(params):
        log_p = jax.nn.log_softmax(forced("none", state.replace(params=params), PAIRS["source"], own))
        nats = -jnp.take_along_axis(log_p, targets[..., None], -1)[..., 0]
        return jnp.where(targets != PAD, nats, 0).sum() / (targets != PAD).sum()

    want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, jax.jit(jax.grad(loss))(state.params))
    after, _ = jax.jit(toy("none", teacher_forcing=0.0).update)(state, PAIRS)
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    right, _ = jax.jit(toy("none").update)(state, PAIRS)
    assert not np.allclose(right.params["embed"]["embedding"], after.params["embed"]["embedding"])


@pytest.mark.weekly
def test_replicas_with_different_numbers_of_tokens_take_the_mean_over_all(states):
    state = states["none"].replace(opt_state=optax.sgd(0.1).init(states["none"].params))
    one, _ = jax.jit(toy("none").update)(state, {k: v[:2] for k, v in PAIRS.items()})
    replica = seq2seq.learner(model=MODELS["none"], optimizer=optax.sgd(0.1))
    halves = {k: v[:2, None] for k, v in PAIRS.items()}
    two = jax.pmap(lambda batch: replica.update(state, batch)[0].params, REPLICA, devices=jax.devices()[:2])(halves)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b[0], atol=1e-6)


def test_an_output_matches_from_the_first_token_to_end():
    target = pad_sequences([[4, 5], [6], [4, 5]])
    tokens = np.array([[4, 5, END, PAD, PAD], [6, 6, END, PAD, PAD], [4, 5, 6, 6, 6]])
    np.testing.assert_array_equal(seq2seq.matches(tokens, target), [True, False, False])
    evaluator = seq2seq.exact_match()
    acc = evaluator.add(None, {"tokens": tokens}, {"target": target})
    acc = evaluator.add(acc, {"tokens": tokens[:1]}, {"target": target[:1]})
    assert evaluator.finish(acc) == {"exact_match": 0.5}
    np.testing.assert_array_equal(seq2seq.matches(np.zeros((1, 2)), target[:1]), [False])  # nothing written


@pytest.fixture(scope="module")
def reversals():
    """What each recurrent model makes of 200 unseen strings of 7 symbols after 250 steps."""
    train, test = (strings("reverse", n, seed, length=(7, 7), vocabulary=8) for seed, n in enumerate((4000, 200)))
    draw, held_out, results = np.random.default_rng(0), test[np.arange(200)], {}
    for attention in ("none", "additive"):
        tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, 250)))
        learner = seq2seq.learner(
            model=RecurrentEncoderDecoder(12, None, attention, 40, 20), optimizer=tx, max_length=8
        )
        init, update, predict = (jax.jit(f) for f in (learner.init, learner.update, learner.predict))
        state = init(jax.random.key(0), train[np.arange(64)])
        for _ in range(250):
            state, _ = update(state, train[draw.integers(0, 4000, 64)])
        results[attention] = predict(state, held_out)
    return held_out, results


@pytest.mark.weekly
@pytest.mark.covers("SQ-12", "SQ-13")
def test_attention_reverses_what_one_vector_cannot_hold(reversals):
    batch, results = reversals
    exact = {name: seq2seq.matches(out["tokens"], batch["target"]).mean() for name, out in results.items()}
    assert exact["additive"] > 0.95
    assert exact["none"] < exact["additive"] - 0.3
    right = results["none"]["tokens"][:, 0] == batch["target"][:, 1]  # but it has learned to begin
    assert right.mean() > 0.9


@pytest.mark.weekly
@pytest.mark.covers("SQ-13")
def test_the_alignment_of_a_reversal_is_the_anti_diagonal(reversals):
    _, results = reversals
    focus = np.asarray(results["additive"]["alignment"])[:, :7].argmax(-1)
    assert (np.abs(focus - np.arange(6, -1, -1)) <= 1).mean() > 0.95


class Bigrams(nn.Module):
    """The next token's logits: a row for the token before, and one for the first token of the source."""

    @nn.compact
    def __call__(self, source, tokens, train=False):
        before = self.param("before", nn.initializers.zeros, (7, 7))
        return before[tokens] + self.param("first", nn.initializers.zeros, (7, 7))[source[:, :1]]


@pytest.mark.slow
@pytest.mark.covers("SQ-12")
def test_one_update_by_hand():
    """Two lengths in a batch, whose tokens count alike; half of the inputs are the model's own choices."""
    rate, smoothing, share = 0.5, 0.2, 0.5
    learner = seq2seq.learner(
        model=Bigrams(), optimizer=optax.sgd(rate), label_smoothing=smoothing, teacher_forcing=share
    )
    draws = np.random.default_rng(0)
    before = {name: draws.normal(size=(7, 7)).astype(np.float32) for name in ("before", "first")}
    long = {"source": pad_sequences([[4, 5, 6], [6]], start=False), "target": pad_sequences([[6, 5, 4, 4], [5]])}
    short = {"source": pad_sequences([[5, 5]], start=False), "target": pad_sequences([[4]])}
    batch = {name: part | {"index": np.arange(len(part["source"]))} for name, part in (("a", long), ("b", short))}
    state = State(np.int32(2), jax.random.key(3), before, optax.sgd(rate).init(before))
    after, metrics = jax.jit(learner.update)(state, batch)

    def logits_of(params, source, inputs):
        return params["before"][inputs] + params["first"][source[:, :1]]

    @jax.jit
    def expected(params):
        parts, replaced = [], 0
        for i, part in enumerate((long, short)):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 2), i), 1)
            inputs = jnp.asarray(part["target"])[:, :-1]
            right = jax.random.bernoulli(key, share, inputs.shape)
            choice = jnp.where(jnp.isin(jnp.arange(7), jnp.array([PAD, START, UNKNOWN])), -jnp.inf, 0)
            own = (logits_of(params, part["source"], inputs) + choice).argmax(-1)
            own = jnp.concatenate([inputs[:, :1], own[:, :-1]], 1)
            mixed = jnp.where(right | (inputs == PAD), inputs, own)
            replaced += (mixed != inputs).sum()
            parts.append((part["source"], mixed, jnp.asarray(part["target"])[:, 1:]))

        def loss(params):
            total = plain = count = 0
            for source, inputs, targets in parts:
                scores = jnp.exp(logits_of(params, source, inputs))
                log_p = jnp.log(scores / scores.sum(-1, keepdims=True))
                nats = -(log_p * (targets[..., None] == jnp.arange(7))).sum(-1)
                real = targets != PAD
                total += (real * ((1 - smoothing) * nats - smoothing * log_p.mean(-1))).sum()
                plain, count = plain + (real * nats).sum(), count + real.sum()
            return total / count, plain / count

        gradients, nats = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - rate * g, params, gradients), nats, replaced

    new, nats, replaced = expected(before)
    assert int(replaced) > 0, "an input must be the model's own choice"
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, new)
    assert metrics["loss"].compute() == pytest.approx(float(nats), rel=1e-5)


class Fixed:
    """The same logits whatever it reads; it notes what that was."""

    def __init__(self, logits):
        self.logits, self.calls = jnp.asarray(logits, jnp.float32), []

    def apply(self, variables, source, inputs, train, rngs):
        self.calls.append((train, rngs is not None, np.asarray(inputs).tolist()))
        return self.logits


TARGETS = np.array([[START, 4, END, PAD], [START, 5, 4, END], [START, 4, 4, END]], np.int32)


def test_the_loss_of_tokens_is_smoothed_and_leaves_padding_out():
    """All tokens have the shares p. Two tokens of the first row count, three of the second, and none of the last.

    Of the words two are the most probable one, of share 0.4, and one has 0.1; two ENDs have 0.2.
    """
    p = np.array([0.1, 0.1, 0.2, 0.1, 0.4, 0.1])
    batch = {"source": None, "target": TARGETS, "index": np.arange(3), "mask": np.array([1, 1, 0])}
    logits = np.broadcast_to(np.log(p), (3, 3, 6))
    model = Fixed(logits)
    total, count, metrics = jax.jit(lambda: seq2seq._token_losses(model, 0.2, 1.0, {}, batch, None))()
    nats = -2 * np.log(0.4) - np.log(0.1) - 2 * np.log(0.2)
    assert int(count) == 5
    assert float(total) == pytest.approx(0.8 * nats - 0.2 * 5 * np.log(p).mean(), rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(nats / 5, rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx(2 / 5)
    assert model.calls == [(False, False, TARGETS[:, :-1].tolist())]
    # In evaluation the inputs are right at every share.
    jax.eval_shape(lambda: seq2seq._token_losses(model, 0.0, 0.0, {}, batch, None))
    assert model.calls[1] == model.calls[0]


def test_own_choices_take_the_place_of_the_inputs_in_training_alone(monkeypatch):
    """PAD, START and UNKNOWN are the most probable tokens, then 5 at the first place and END at the second."""
    logits = np.zeros((3, 3, 6))
    logits[:, :, [PAD, START, UNKNOWN]] = 9
    logits[:, 0, 5], logits[:, 1, END] = 2, 1
    model, key = Fixed(logits), jax.random.key(0)
    inputs = TARGETS[:, :-1].copy()
    inputs[1, 2] = PAD
    own = jax.jit(lambda: seq2seq._scheduled_inputs(model, 0.0, {}, None, inputs, key))()
    np.testing.assert_array_equal(own, [[START, 5, END], [START, 5, PAD], [START, 5, END]])
    assert model.calls == [(True, True, inputs.tolist())]
    # The pass whose gradient is taken reads them, below a share of 1.
    shares, mixed = [], np.full((3, 3), END)
    monkeypatch.setattr(seq2seq, "_scheduled_inputs", lambda model, share, *_: (shares.append(share), mixed)[1])
    batch = {"source": None, "target": TARGETS, "index": np.arange(3)}
    for share in (0.4, 1.0):
        jax.eval_shape(functools.partial(seq2seq._token_losses, model, 0.0, share, {}, batch, key))
    assert shares == [0.4]
    assert model.calls[1:] == [(True, True, mixed.tolist()), (True, True, TARGETS[:, :-1].tolist())]


def test_tokens_of_all_parts_count_alike(monkeypatch):
    """Losses 6 p of two tokens and 3 p of one: 3 p a token, of gradient 3. Parts come in the order of their names."""
    calls = []

    def losses(model, label_smoothing, teacher_forcing, params, batch, rng):
        key = None if rng is None else tuple(jax.random.key_data(rng).tolist())
        calls.append((label_smoothing, teacher_forcing, batch["source"], key))
        total = 3 * batch["source"] * params["p"]
        return total, jnp.asarray(batch["count"]), {"loss": Sum(total, jnp.asarray(batch["count"]))}

    class Begun:
        def init(self, key, source, inputs):
            return {"params": {"p": jnp.float32(source), "inputs": inputs}}

    monkeypatch.setattr(seq2seq, "_token_losses", losses)
    learner = seq2seq.learner(model=Begun(), optimizer=optax.sgd(0.1), label_smoothing=0.3, teacher_forcing=0.6)
    small, large = ({"source": n, "count": n, "target": np.array([[n, 8, 9]])} for n in (1, 2))
    batch = {"b": large, "a": small}
    state = learner.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(state.params["inputs"], [[1, 8]])
    state = state.replace(params={"p": jnp.float32(1)}, opt_state=optax.sgd(0.1).init({"p": 1.0}))
    after, metrics = learner.update(state, batch)
    assert float(after.params["p"]) == pytest.approx(1 - 0.3)
    assert metrics["loss"].compute() == pytest.approx(3)
    learner.update(after, batch)
    keys = [key for *_, key in calls]
    assert len(set(keys)) == 4
    assert [call[:3] for call in calls] == [(0.3, 0.6, 1), (0.3, 0.6, 2)] * 2
    value, _ = learner.loss(state.params, state, large)
    assert float(value) == 3
    assert float(learner.loss(state.params, state, large | {"count": 0})[0]) == 6  # without a token nothing is divided
    assert learner.evaluate(state, batch)["loss"].compute() == pytest.approx(3)
    assert {key for *_, key in calls[4:]} == {None}
    seq2seq.learner(model=Begun(), optimizer=optax.sgd(0.1)).loss(state.params, state, small)
    assert calls[-1] == (0.0, 1.0, 1, None)


class Writer:
    """Notes the calls of its methods, which give their names."""

    def __init__(self, aligned=None, **sizes):
        self.aligned, self.calls = aligned, []
        vars(self).update(sizes)

    def apply(self, variables, *arguments, method, mutable=None):
        self.calls.append((variables, *arguments, method))
        return ("logits", {"intermediates": "sown"}) if mutable == ["intermediates"] else method

    def alignment(self, intermediates):
        assert intermediates == "sown"
        return self.aligned


def test_predict_searches_as_asked_and_aligns_what_it_wrote(monkeypatch):
    """The longest output has 3/2 of the source's three tokens, 4, or as many as asked."""
    searches, tokens = [], jnp.array([[4, 5, END], [END, PAD, PAD]])

    def search(step, carry, *settings):
        searches.append((step(carry, "token"), carry, *settings))
        return tokens, "length"

    monkeypatch.setattr(seq2seq, "generate_sentences", search)
    weights = {"params": "weights"}
    state, batch = State(np.int32(0), jax.random.key(0), "weights", None), {"source": np.ones((2, 3), int)}
    plain, aligned = Writer(), Writer("aligned")
    outputs = seq2seq.learner(model=plain, optimizer=optax.sgd(0.1)).predict(state, batch)
    assert outputs == {"tokens": tokens, "length": "length"}
    (_, source, encode), start, step, (_, memory, inputs, decode) = plain.calls
    assert (source is batch["source"], encode, memory, decode) == (True, "encode", "encode", "decode")
    assert (start, step) == ((weights, "encode", 4, "start"), (weights, "start", "token", "step"))
    np.testing.assert_array_equal(inputs, [[START, 4, 5], [START, END, PAD]])
    search = seq2seq.learner(model=aligned, optimizer=optax.sgd(0.1), max_length=7, beam=Beam(3, 0.5))
    assert search.predict(state, batch)["alignment"] == "aligned"
    assert searches == [("step", "start", 2, 4, 1, 0.0), ("step", "start", 2, 7, 3, 0.5)]


def test_a_model_tells_its_numbers_of_tokens():
    """The source has a vocabulary of its own, that of the target, or neither is known."""
    for sizes, expected in (
        ({"vocab_size": 9, "source_vocab_size": 7}, {"source": 7, "target": 9}),
        ({"vocab_size": 9, "source_vocab_size": None}, {"source": 9, "target": 9}),
        ({"vocab_size": 9}, {"source": 9, "target": 9}),
        ({}, {}),
    ):
        assert seq2seq.learner(model=Writer(**sizes), optimizer=optax.sgd(0.1)).classes(None, {}) == expected
