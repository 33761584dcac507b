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
from dlcore.learner import Evaluator
from dlcore.models import create_model
from dlcore.nn import Conv
from dlcore.run import evaluate, fit
from dlcore.run.step import Placement
from dlcore.search.together import ALIVE, evaluator_of_trials, scores_of, select, together

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
    with pytest.raises(ValueError, match="'map': not measured for each trial; allowed: accuracy, class, loss, top5"):
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


def test_values_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="unequal; allowed: equally many"):
        together(build(), {"learning_rate": [0.1, 0.2], "l2": [0.0]})
    with pytest.raises(ValueError, match="at least one"):
        together(build(), {})


def test_scores_of_a_row_are_blank_where_a_trial_has_diverged():
    """None stands for a number that is not finite: of the metric itself, or of the trial's state."""
    row = {"loss/0": 0.5, "loss/1": None, "loss/2": 0.25, "loss/3": 0.125}
    np.testing.assert_array_equal(scores_of(row, "loss", 4), [0.5, np.nan, 0.25, 0.125])
    alive = {f"{ALIVE}/{i}": value for i, value in enumerate([1.0, 1.0, None, 1.0])}
    np.testing.assert_array_equal(scores_of(row | alive, "loss", 4), [0.5, np.nan, np.nan, 0.125])
