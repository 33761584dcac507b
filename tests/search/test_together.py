"""Trials in one step are the trials by themselves; those that blow up do no harm."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline
from dlcore.learner import Evaluator, Learner, Max, ModelState, Sum
from dlcore.models import create_model
from dlcore.nn import Conv
from dlcore.run import evaluate, fit
from dlcore.run.step import Placement
from dlcore.search.together import (
    ALIVE,
    OfTrials,
    TrialsState,
    _convolves,
    evaluator_of_trials,
    scores_of,
    select,
    start_of_trials,
    together,
)

TRAIN, VALID = digits("train").take(256), digits("test").take(100)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(Conv(4, (3, 3), strides=2, name="conv")(x))
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


def build(model=None):
    net = model or create_model("mlp", num_classes=10)

    def of(values):
        tx = optax.sgd(values["learning_rate"])
        return supervised.learner(model=net, optimizer=tx, l2=values.get("l2", 0.0))

    return of


def single():
    from dlcore.run.sharding import make_mesh

    return Placement(make_mesh("data:1", jax.devices()[:1]))


def run(learner, steps=12, **options):
    options = {"valid": VALID, "progress": False, "log_every": 4, "placement": single(), "seed": 3, **options}
    return fit(learner, Pipeline(TRAIN, 32), steps=steps, **options)


@pytest.mark.slow
@pytest.mark.weekly(unless=["map"])
@pytest.mark.parametrize("mapping", ["vmap", "map"])
def test_trials_together_equal_trials_alone(mapping):
    values = {"learning_rate": [0.01, 0.1, 0.3], "l2": [0.0, 1e-3, 1e-2]}
    result = run(together(build(), values, mapping))
    last = [row for row in result.history if row["split"] == "valid"][-1]
    for i in range(3):
        alone = run(build()({name: column[i] for name, column in values.items()}))
        row = [r for r in alone.history if r["split"] == "valid"][-1]
        assert last[f"loss/{i}"] == pytest.approx(row["loss"], rel=1e-5)
        assert last[f"accuracy/{i}"] == row["accuracy"]
        mine = jax.tree.map(lambda x, i=i: x[i], result.state.inner.params)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(alone.state.params), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.weekly
def test_convolutions_are_mapped_one_by_one_on_a_cpu_and_equal_those_alone():
    of = build(Convolution())
    learner = together(of, {"learning_rate": [0.01, 0.1]})
    result = run(learner, 3)
    alone = run(of({"learning_rate": 0.1}), 3)
    for a, b in zip(jax.tree.leaves(result.state.inner.params), jax.tree.leaves(alone.state.params), strict=True):
        np.testing.assert_allclose(a[1], b, atol=1e-5)
    batch = {"image": jnp.zeros((4, 8, 8, 1)), "label": jnp.zeros(4, jnp.int32), "index": jnp.arange(4)}
    shapes = jax.eval_shape(learner.predict, result.state, batch)
    chex.assert_shape(shapes["logits"], (4, 2, 10), custom_message="examples first, then trials")


def mean_class():
    """An evaluator: the mean of the predicted classes."""

    def add(acc, outputs, rows):
        return [*(acc or []), outputs["logits"].argmax(-1)]

    return Evaluator(add, lambda acc: {"class": float(np.concatenate(acc).mean())}, names=("class",))


@pytest.mark.slow
def test_a_trial_that_blows_up_is_blank_and_the_others_go_on():
    learner = together(build(), {"learning_rate": [0.1, 1e30]})
    result = run(learner, evaluators=[evaluator_of_trials(mean_class(), 2)])
    rows = [row for row in result.history if row["split"] == "valid"]
    assert rows[-1]["loss/1"] is None
    assert rows[-1]["loss/0"] < 2.2
    scores = scores_of(rows[-1], "loss", 2)
    assert np.isnan(scores[1])
    assert scores[0] == rows[-1]["loss/0"]
    alone = evaluate(
        build()({"learning_rate": 0.1}),
        jax.tree.map(lambda x: x[0], result.state.inner),
        VALID,
        placement=single(),
        evaluators=[mean_class()],
    )
    np.testing.assert_array_equal(scores_of(rows[-1], "class", 2), [alone["class"], np.nan])
    with pytest.raises(ValueError, match="'map': not measured for each trial; allowed: accuracy, class, loss"):
        scores_of(rows[-1], "map", 2)


@pytest.mark.weekly
def test_selected_trials_keep_their_states_and_values():
    learner = together(build(), {"learning_rate": [0.01, 0.1, 0.2]})
    state = run(learner, 2).state
    best = select(state, [2, 0])
    np.testing.assert_allclose(best.values["learning_rate"], [0.2, 0.01])
    pair = together(build(), {"learning_rate": [0.2, 0.01]})
    numbers = evaluate(pair, best, VALID, placement=single())
    whole = evaluate(learner, state, VALID, placement=single())
    assert numbers["loss/0"] == pytest.approx(whole["loss/2"], rel=1e-6)
    assert numbers["loss/1"] == pytest.approx(whole["loss/0"], rel=1e-6)


def test_scores_of_a_row_are_blank_where_a_trial_has_diverged():
    """None stands for a number that is not finite: of the metric itself, or of the trial's state."""
    row = {"loss/0": 0.5, "loss/1": None, "loss/2": 0.25, "loss/3": 0.125}
    np.testing.assert_array_equal(scores_of(row, "loss", 4), [0.5, np.nan, 0.25, 0.125])
    alive = {f"{ALIVE}/{i}": value for i, value in enumerate([1.0, 1.0, None, 1.0])}
    np.testing.assert_array_equal(scores_of(row | alive, "loss", 4), [0.5, np.nan, np.nan, 0.125])


BATCH = {"x": jnp.array([1.0, 3.0])}
"""Two examples of mean 2."""


def shifts(values):
    """Subtract the mean of the batch, times the rate, from one weight that starts at 1."""

    def loss(state, batch):
        return {
            "loss": Sum.of(batch["x"] - state.params["w"]),
            "largest": Max(batch["x"].max()),
            "vector": Sum(batch["x"]),
        }

    def init(rng, batch):
        return ModelState(jnp.int32(0), jnp.zeros(2), {"w": jnp.float32(1)}, {"nothing yet": jnp.inf}, {})

    def update(state, batch):
        params = {"w": state.params["w"] - values["rate"] * batch["x"].mean()}
        return state.replace(step=state.step + 1, params=params), loss(state, batch)

    def predict(state, batch):
        return {"sum": batch["x"] + state.params["w"]}

    def classes(state, batch):
        return {"label": (state.params["w"].shape, float(values["rate"]))}

    return Learner(init, update, loss, predict, classes=classes)


def state_of(weights, alive=None):
    """The state of trials with these weights, and the rates 0.1, 0.2, ..."""
    rows = len(weights)
    inner = ModelState(np.zeros(rows, np.int32), np.zeros((rows, 2)), {"w": np.float32(weights)}, {}, {})
    values = {"rate": 0.1 * np.arange(1, rows + 1, dtype=np.float32)}
    alive = np.ones(rows, bool) if alive is None else np.array(alive)
    return TrialsState(np.int32(0), np.zeros(2), inner, values, alive, np.ones(3, bool))


def computed(metrics):
    return {name: metric.compute() for name, metric in metrics.items()}


@pytest.mark.parametrize("mapping", ["auto", "map"])
def test_each_trial_takes_the_step_of_its_value_and_a_diverged_one_stays_where_it_was(mapping):
    """w = 1 - 0.5 * 2 = 0 and 1 - 1 * 2 = -1; the third is infinite, and stays at 1. Losses are 2 - w."""
    learner = together(shifts, {"rate": [0.5, 1.0, np.inf]}, mapping)
    update = jax.jit(learner.update)
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    np.testing.assert_array_equal(state.alive, [True] * 3)
    state, metrics = update(state, BATCH)
    np.testing.assert_array_equal(state.params["w"], [0, -1, 1])
    np.testing.assert_array_equal(state.alive, [True, True, False])
    assert computed(metrics) == {"loss": {"0": 1.0, "1": 1.0, "2": None}}, "scalar means alone"
    state, metrics = update(state.replace(values={"rate": jnp.array([0.5, 1.0, 0.0])}), BATCH)
    np.testing.assert_array_equal(state.params["w"], [-1, -3, 1])
    assert computed(metrics) == {"loss": {"0": 2.0, "1": 3.0, "2": None}}, "what diverged stays out"
    np.testing.assert_array_equal(state.inner.step, [2, 2, 0])
    assert int(state.step) == 2


def test_trials_are_measured_each_with_its_own_weight_and_their_outputs_stand_beside_each_other():
    """Losses 2 - w; a weight that is not finite makes its trial's metrics blank."""
    learner = together(shifts, {"rate": [0.5, 1.0, 0.1]})
    evaluate, state = jax.jit(learner.evaluate), state_of([0.0, -2.0, np.nan])
    assert computed(evaluate(state, BATCH)) == {
        "loss": {"0": 2.0, "1": 4.0, "2": None},
        ALIVE: {"0": 1.0, "1": 1.0, "2": None},
    }
    stopped = state_of([0.0, -2.0, np.nan], alive=[False, True, True])
    assert computed(evaluate(stopped, BATCH))["loss"] == {"0": None, "1": 4.0, "2": None}
    outputs = jax.jit(learner.predict)(state, BATCH)["sum"]
    np.testing.assert_array_equal(outputs, [[1, -1, np.nan], [3, 1, np.nan]])  # examples first


def test_the_classes_of_labels_are_those_of_one_trial():
    values = {"rate": [0.5, 1.0]}
    assert together(shifts, values).classes(state_of([5.0, 6.0]), BATCH) == {"label": ((), 0.5)}
    assert together(lambda row: shifts(row)._replace(classes=None), values).classes(state_of([5.0, 6.0]), BATCH) == {}


def test_selected_trials_keep_their_order_and_all_that_is_theirs():
    state = state_of([5.0, 6.0, 7.0], alive=[True, False, True])
    found = select(state, [2, 1, 2])
    np.testing.assert_array_equal(found.params["w"], [7, 6, 7])
    np.testing.assert_allclose(found.values["rate"], [0.3, 0.2, 0.3])
    np.testing.assert_array_equal(found.alive, [True, False, True])
    np.testing.assert_array_equal(select(state, [1, 0]).alive, [False, True])


def test_each_trial_starts_from_its_own_weights():
    state = state_of([1.0, 2.0])

    def times(factor):
        return lambda one: one.replace(params={"w": one.params["w"] * factor})

    started = start_of_trials([times(3), times(5)])(state)
    np.testing.assert_array_equal(started.params["w"], [3, 10])
    np.testing.assert_array_equal(started.values["rate"], state.values["rate"])


def test_an_evaluator_sees_each_trials_outputs_of_all_batches():
    """Sums over two batches: 1 + 3 + 5 = 9 of the first trial, 2 + 4 + 6 = 12 of the second."""

    def add(acc, outputs, rows):
        return (acc or 0) + outputs["y"].sum() * rows["weight"]

    evaluator = Evaluator(add, lambda acc: {"sum": acc, "half": acc / 2}, "a source", ("sum", "half"))
    both = evaluator_of_trials(evaluator, 2)
    assert both.source == "a source"
    assert both.names == ("sum/0", "sum/1", "half/0", "half/1")
    acc = both.add(None, {"y": np.array([[1, 2], [3, 4]])}, {"weight": 1})
    acc = both.add(acc, {"y": np.array([[5, 6]])}, {"weight": 1})
    assert both.finish(acc) == {"sum/0": 9, "half/0": 4.5, "sum/1": 12, "half/1": 6}


def test_a_metric_of_trials_is_blank_without_examples_and_never_a_reason_to_stop():
    metric = OfTrials(Sum(jnp.array([6.0, 0.0, jnp.nan]), jnp.array([4, 0, 1])), jnp.array([0, 0, 2]))
    assert metric.compute() == {"0": 1.5, "1": None, "2": None}
    assert bool(metric.finite())


def test_kernels_of_four_axes_are_convolutions():
    """The stacked trials are one axis more."""
    for shape, convolves in (((3, 1, 1, 2, 2), True), ((3, 1, 2, 2), False), ((3, 1, 1, 1, 2, 2), False)):
        state = ModelState(None, None, {"bias": np.zeros((3, 2)), "kernel": np.zeros(shape)}, None, {})
        assert _convolves(state) == convolves
