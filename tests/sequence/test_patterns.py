"""The five patterns: what each output may depend on, by hand and by gradients, and what each learns."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data import tracks as tracks_parts
from dlcore.data.splits import Splits
from dlcore.data.tracks import DRIFT, START, tracks
from dlcore.evaluators import tracking_error
from dlcore.learner import State
from dlcore.nn.recurrent import Recurrent
from dlcore.optim import create_optimizer
from dlcore.sequence import patterns
from dlcore.sequence.kalman import constant_velocity, kalman_filter
from dlcore.sequence.pattern_problems import depths, moving_average, rmse
from dlcore.sequence.patterns import PATTERNS, PatternNet

each = pytest.mark.parametrize("pattern", PATTERNS)


def net(categorical=False, num_tokens=0, outputs=3, steps=4, **kwargs):
    return PatternNet(outputs, num_tokens, categorical, steps, **{"hidden_size": 5} | kwargs)


def inputs(pattern, rows=2, seed=0):
    return jax.random.normal(jax.random.key(seed), (rows, 1 if pattern.startswith("one") else 5, 2))


def started(model, pattern, x, lengths=None):
    return jax.jit(model.init, static_argnames="pattern")(jax.random.key(1), x, lengths, pattern=pattern)


def compiled(learner):
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "evaluate", "predict", "loss")})


STEPS = {"one_to_one": 1, "one_to_many": 4, "many_to_one": 1, "many_to_many": 5, "many_to_many_delayed": 4}
"""Answers of a network of four output steps to five steps of input (one, where the pattern begins with "one")."""


@pytest.mark.slow(unless=["many_to_many"])
@pytest.mark.covers("SQ-06")
@each
def test_each_output_depends_on_the_inputs_that_its_pattern_shows_it(pattern):
    """|dy_t/dx_s| > 0: an aligned answer on what came before it, all others on everything."""
    model, x = net(), inputs(pattern, rows=1)
    variables = started(model, pattern, x)
    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(variables, x, pattern=pattern)))(x)[0, :, :, 0]
    seen = np.abs(jacobian).max((1, 3)) > 0  # [T, S]
    want = np.tril(np.ones((5, 5), bool)) if pattern == "many_to_many" else np.ones((STEPS[pattern], x.shape[1]), bool)
    np.testing.assert_array_equal(seen, want)


@pytest.mark.covers("SQ-06")
def test_only_the_first_pattern_has_no_recurrence():
    for pattern in PATTERNS:
        params = jax.eval_shape(lambda p=pattern: started(net(), p, inputs(p)))["params"]
        assert ({"reader", "writer"} & set(params) == set()) == (pattern == "one_to_one"), pattern


@pytest.mark.slow
@pytest.mark.covers("SQ-06")
@pytest.mark.parametrize("feedback", ["own", "zeros"])
def test_after_the_one_input_come_zeros_or_the_own_output(feedback):
    model, x = net(feedback=feedback, steps=3), inputs("one_to_many")
    params = started(model, "one_to_many", x)["params"]
    got = model.apply({"params": params}, x, pattern="one_to_many")
    layer, kernel = Recurrent(5, "gru"), params.get("feed", {"kernel": jnp.zeros((3, 5))})["kernel"]
    fed, carry, want = x @ params["enter"]["kernel"] + params["enter"]["bias"], layer.initial_carry(2), []
    for _ in range(3):
        carry, h = layer.apply({"params": params["writer"]["layer0"]}, carry, fed)
        want.append(h @ params["head"]["kernel"] + params["head"]["bias"])
        fed = want[-1] @ kernel
    np.testing.assert_allclose(got, jnp.concatenate(want, 1), atol=1e-5)


@pytest.mark.covers("SQ-06", "SQ-16")
def test_one_note_is_followed_by_a_melody_each_note_by_what_was_written_before():
    """h_0 = tanh(W e(x) + b) and p_t = softmax(V h_t + c); h_t = tanh(W F p_{t-1} + U h_{t-1} + b)."""
    model = net(categorical=True, num_tokens=3, steps=3, cell="rnn", hidden_size=4)
    notes = np.array([[2], [0]])

    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: started(model, "one_to_many", notes))["params"]
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    got = jax.jit(lambda p: model.apply({"params": p}, notes, pattern="one_to_many"))(params)
    layer, head, h = params["writer"]["layer0"], params["head"], np.zeros((2, 4))
    chex.assert_shape(got, (2, 3, 3), custom_message="one step in, three out")
    fed = params["embed"]["embedding"][notes[:, 0]]
    for t in range(3):
        entered = fed @ layer["input_kernel"] + layer["input_bias"]
        h = np.tanh(entered + h @ layer["hidden_kernel"] + layer["hidden_bias"])
        logits = h @ head["kernel"] + head["bias"]
        np.testing.assert_allclose(got[:, t], logits, atol=1e-6)
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        fed = p @ params["feed"]["kernel"]


@pytest.mark.weekly
@pytest.mark.covers("SQ-06")
def test_a_decoder_goes_on_from_the_encoder_after_its_last_valid_step_and_feeds_back_probabilities():
    model, x = net(categorical=True, steps=2), inputs("many_to_many_delayed")
    lengths = np.array([5, 3])
    variables = started(model, "many_to_many_delayed", x)
    params, got = variables["params"], model.apply(variables, x, lengths, pattern="many_to_many_delayed")
    layer = Recurrent(5, "gru")
    for row, n in enumerate(lengths):
        entered = x[row : row + 1, :n] @ params["enter"]["kernel"] + params["enter"]["bias"]
        carry, _ = layer.apply({"params": params["reader"]["layer0"]}, layer.initial_carry(1), entered)
        fed = jnp.zeros((1, 1, 5))
        for t in range(2):
            carry, h = layer.apply({"params": params["writer"]["layer0"]}, carry, fed)
            y = h @ params["head"]["kernel"] + params["head"]["bias"]
            np.testing.assert_allclose(got[row, t], y[0, 0], atol=1e-5)
            fed = jax.nn.softmax(y) @ params["feed"]["kernel"]


@pytest.mark.slow
@pytest.mark.weekly(unless=["False"])
@pytest.mark.covers("SQ-06", "SQ-15")
@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_answer_comes_after_the_last_step_that_counts(bidirectional):
    model, x = net(bidirectional=bidirectional, num_layers=2), inputs("many_to_one")
    variables, lengths = started(model, "many_to_one", x), np.array([5, 2])
    apply = jax.jit(model.apply, static_argnames="pattern")
    got = apply(variables, x, lengths, pattern="many_to_one")
    other = apply(variables, x.at[1, 2:].set(9), lengths, pattern="many_to_one")
    alone = apply(variables, x[1:, :2], pattern="many_to_one")
    np.testing.assert_array_equal(got, other)
    np.testing.assert_allclose(got[1:], alone, atol=1e-6)


def batch(pattern, categorical, rows=2):
    shape = (rows, STEPS[pattern])
    target = jnp.ones(shape, jnp.int32) if categorical else jnp.ones((*shape, 3))
    return {"input": inputs(pattern, rows), "target": target, "index": jnp.arange(rows)}


@pytest.mark.slow
@pytest.mark.covers("SQ-06")
def test_losses_and_measures_by_hand():
    learner = compiled(patterns.learner(model=net(), optimizer=optax.sgd(0.1), pattern="many_to_many"))
    rows = {**batch("many_to_many", False), "length": jnp.array([5, 2]), "mask": jnp.array([0.0, 1.0])}
    state = learner.init(jax.random.key(0), rows)
    y = np.asarray(learner.predict(state, rows)["output"])
    want = np.square(y[1, :2] - 1).mean()  # one row counts, and two steps of it
    metrics = learner.evaluate(state, rows)
    assert metrics["loss"].compute() == pytest.approx(want, rel=1e-5)
    assert metrics["rmse"].compute() == pytest.approx(want**0.5, rel=1e-5)
    rows["target"] = jnp.asarray(y[..., :].argmax(-1)).at[1, 0].add(1) % 3  # right but for one step
    metrics = learner.evaluate(state, {**rows, "mask": jnp.ones(2)})
    assert metrics["accuracy"].compute() == pytest.approx(6 / 7)
    assert metrics["exact"].compute() == pytest.approx(1 / 2)
    nats = -np.asarray(jax.nn.log_softmax(y[1, :2]))[np.arange(2), np.asarray(rows["target"])[1, :2]]
    assert float(learner.loss(state.params, state, rows)[0]) == pytest.approx(nats.mean(), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SQ-06", "SQ-16")
@pytest.mark.parametrize("pattern", ["one_to_many", "many_to_many_delayed"])
def test_strings_are_learned_by_heart(pattern):
    """Three inputs, each with a string of its own over three letters: a melody, and a reverse."""
    strings = jnp.array([[0, 1, 2, 1], [2, 2, 0, 1], [1, 0, 0, 2]])
    x = jnp.arange(3)[:, None] if pattern == "one_to_many" else strings[:, ::-1]
    learner = patterns.learner(
        model=net(categorical=True, num_tokens=3, hidden_size=16),
        optimizer=create_optimizer("adam", 0.02),
        pattern=pattern,
    )
    rows = {"input": x, "target": strings, "index": jnp.arange(3)}
    measure = compiled(learner)
    state = measure.init(jax.random.key(0), rows)
    train = jax.jit(lambda s: jax.lax.scan(lambda s, _: (learner.update(s, rows)[0], None), s, None, length=100)[0])
    state = train(state)
    assert measure.evaluate(state, rows)["exact"].compute() == 1
    np.testing.assert_array_equal(measure.predict(state, rows)["output"].argmax(-1), strings)


def test_errors_name_wrong_shapes():
    learner = patterns.learner(model=net(), optimizer=optax.sgd(0.1), pattern="one_to_many")
    rows = batch("one_to_many", False) | {"input": jnp.zeros((2, 3, 2))}
    with pytest.raises(ValueError, match="3 steps; allowed: one step for one_to_many"):
        learner.init(jax.random.key(0), rows)


def test_a_network_that_writes_does_not_read_both_ways():
    with pytest.raises(ValueError, match="bidirectional=True: one_to_many writes forwards"):
        started(net(bidirectional=True), "one_to_many", inputs("one_to_many"))


# The pages


@pytest.mark.covers("SQ-17")
def test_a_moving_average_takes_what_came_before():
    seen = np.array([[[1.0], [3.0], [5.0], [1.0]]])
    np.testing.assert_allclose(moving_average(seen, 2)[0, :, 0], [1, 2, 4, 3])
    np.testing.assert_allclose(moving_average(seen, 3)[0, :, 0], [1, 2, 3, 3])
    np.testing.assert_array_equal(moving_average(seen, 1), seen)


@pytest.mark.covers("SQ-17")
def test_a_moving_average_smooths_depths_to_less_than_two_thirds_of_their_error():
    arrays = depths(200, 0).arrays
    raw, smooth = (rmse(x, arrays["target"]) for x in (arrays["input"], moving_average(arrays["input"], 4)))
    assert raw == pytest.approx(0.25, abs=0.01)
    assert 0.5 < smooth / raw < 0.65


@pytest.mark.covers("SQ-17", "SQ-18")
def test_the_steps_and_the_corrections_of_a_track_rebuild_it():
    tracked = tracks_parts.observed_part(tracks(50, 0, 20)).arrays
    np.testing.assert_allclose(tracked["observation"] + tracked["target"], tracked["position"], atol=1e-4)
    walked = tracked["observation"][:, :1] + tracked["input"].cumsum(1)
    np.testing.assert_allclose(walked, tracked["observation"], atol=1e-3)
    assert rmse(tracked["target"], 0) == pytest.approx(1, abs=0.05)


@pytest.mark.weekly
@pytest.mark.covers("SQ-18")
def test_the_network_is_measured_beside_the_filter():
    train, test = (tracks_parts.observed_part(tracks(20, seed, 20)) for seed in (0, 1))
    (evaluator,) = tracking_error.TrackingError().evaluators(None, Splits(train, None, test, {}), "test")
    rows = [test[np.arange(12)], test[np.arange(12, 20)]]
    acc = None
    for part in rows:  # a network that changes nothing
        acc = evaluator.add(acc, {"output": np.zeros_like(part["target"])}, part)
    numbers = evaluator.finish(acc)
    y, p = test.arrays["observation"], test.arrays["position"]
    estimates = np.stack([kalman_filter(constant_velocity(DRIFT, start=START), row).mean[:, :2] for row in y])
    assert numbers["kalman_rmse"] == pytest.approx(rmse(estimates, p), rel=1e-4)
    assert numbers["over_kalman"] == pytest.approx(rmse(y, p) / rmse(estimates, p), rel=1e-4)
    # The last estimate of the smoother is the filter's, the ones before it are better.
    filtered, smoothed = tracking_error.positions(constant_velocity(DRIFT, start=START), y)
    np.testing.assert_allclose(smoothed[:, -1], filtered[:, -1], rtol=1e-5)
    assert numbers["smoother_rmse"] == pytest.approx(rmse(smoothed, p), rel=1e-4)
    assert numbers["smoother_rmse"] < numbers["kalman_rmse"]
    assert set(numbers) == set(evaluator.names)


class Products(nn.Module):
    """An answer of each step by a matrix."""

    @nn.compact
    def __call__(self, x, lengths, *, pattern):
        return x @ self.param("matrix", nn.initializers.zeros, (2, 3))


@pytest.mark.covers("SQ-06")
@pytest.mark.parametrize("categorical", [False, True])
def test_one_update_by_hand(categorical):
    """Of 3 rows with 4, 2 and 4 steps the last is masked: 6 steps count; w - rate dL/dw in NumPy."""
    rate, rng = 0.5, np.random.default_rng(0)
    learner = patterns.learner(model=Products(), optimizer=optax.sgd(rate), pattern="many_to_many")
    x, w = rng.normal(size=(3, 4, 2)).astype(np.float32), rng.normal(size=(2, 3)).astype(np.float32)
    target = rng.integers(0, 3, (3, 4)) if categorical else rng.normal(size=(3, 4, 3)).astype(np.float32)
    rows = {"input": x, "target": target, "length": np.array([4, 2, 4]), "mask": np.float32([1, 1, 0])}
    state = State(np.int32(0), jax.random.key(0), {"matrix": w}, optax.sgd(rate).init({"matrix": w}))
    (after, metrics), measured, predicted, first = jax.jit(
        lambda state, rows: (
            learner.update(state, rows),
            learner.evaluate(state, rows),
            learner.predict(state, rows),
            learner.init(state.rng, rows),
        )
    )(state, rows | {"index": np.arange(3)})
    np.testing.assert_allclose(predicted["output"], x @ w, rtol=1e-5)
    np.testing.assert_array_equal(first.params["matrix"], np.zeros((2, 3)))
    assert measured["loss"].compute() == metrics["loss"].compute()
    counts, y = np.zeros((3, 4, 1)), x @ w
    counts[0], counts[1, :2] = 1, 1
    if categorical:  # L = -1/6 sum log p[target], dL/dy = (p - onehot) / 6
        p, onehot = np.exp(y) / np.exp(y).sum(-1, keepdims=True), target[..., None] == np.arange(3)
        losses, slope = -np.log(p[onehot].reshape(3, 4, 1)), p - onehot
    else:  # L = 1/6 sum of the mean over three numbers, dL/dy = 2/3 (y - target) / 6
        losses, slope = np.square(y - target).mean(-1, keepdims=True), 2 / 3 * (y - target)
    gradient = np.einsum("bsd,bsk->dk", x, counts * slope / 6)
    np.testing.assert_allclose(after.params["matrix"], w - rate * gradient, rtol=1e-5, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx((counts * losses).sum() / 6, rel=1e-5)
    assert int(after.step) == 1
