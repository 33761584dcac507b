import json
import math

import jax
import jax.numpy as jnp
import pytest

from dlcore.learner import State
from dlcore.optim import create_optimizer
from dlcore.optim.plateau import PlateauScale
from dlcore.run import STOP, EarlyStopping, ReduceOnPlateau


def outcome(hook, values, name="valid/accuracy"):
    """What the hook says at each measurement; None is a step at which it was not measured."""
    answers = []
    for step, value in enumerate(values):
        metrics = {"train/loss": 1.0} if value is None else {name: value, "train/loss": 1.0}
        answers.append(hook(step, None, metrics) is STOP)
    return answers


@pytest.mark.covers("RG-19")
def test_stops_after_patience_measurements_without_improvement():
    assert outcome(EarlyStopping(patience=2), [0.1, 0.5, 0.4, 0.5, 0.3]) == [False, False, False, True, True]


def test_improvement_starts_the_count_again():
    values = [0.5, 0.4, 0.6, 0.5, 0.5]
    assert outcome(EarlyStopping(patience=2), values) == [False, False, False, False, True]


@pytest.mark.covers("RG-19")
def test_smaller_is_better_under_min():
    hook = EarlyStopping("valid/loss", patience=2, mode="min")
    assert outcome(hook, [2.0, 1.0, 1.5, 1.2], "valid/loss") == [False, False, False, True]
    assert hook.memory == {"best": 1.0, "waited": 2}


def test_improvements_below_min_delta_do_not_count():
    hook = EarlyStopping(patience=2, min_delta=0.1)
    assert outcome(hook, [0.5, 0.58, 0.59]) == [False, False, True]
    hook = EarlyStopping("valid/loss", patience=2, mode="min", min_delta=0.1)
    assert outcome(hook, [1.0, 0.92, 0.85, 0.8, 0.78], "valid/loss") == [False, False, False, False, True]


def test_steps_without_the_measure_do_not_count():
    assert outcome(EarlyStopping(patience=2), [0.5, None, None, 0.4, None, 0.3]) == [False] * 5 + [True]


def test_a_measure_that_is_not_a_number_is_no_improvement_and_never_the_best():
    nan = math.nan
    assert outcome(EarlyStopping(patience=2), [0.5, nan, nan]) == [False, False, True]
    assert outcome(EarlyStopping(patience=2), [nan, 0.1, 0.2, 0.3]) == [False] * 4


def test_its_memory_is_json_and_goes_on_elsewhere():
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    outcome(first, [0.5, 0.4])
    second.memory = json.loads(json.dumps(first.memory))
    assert outcome(second, [0.3, 0.2]) == [False, True]


def test_stop_is_one_thing():
    assert repr(STOP) == "STOP"


def rates(hook, values):
    """What the hook leaves of the rate after each measurement, and the states of the optimizer."""
    tx, params = create_optimizer("sgd", 1.0, momentum=0.0, plateau=True), {"w": jnp.ones(2)}
    state = State(jnp.int32(0), jax.random.key(0), params, tx.init(params))
    found = []
    for step, value in enumerate(values):
        state = hook(step, state, {} if value is None else {"valid/loss": value}) or state
        updates, _ = tx.update({"w": jnp.full(2, 3.0)}, state.opt_state, params)
        found.append(float(updates["w"][0]) / -3)
    return found


@pytest.mark.slow
@pytest.mark.covers("SC-05")
def test_a_plateau_lowers_the_rate_of_the_updates():
    """Patience 1: the second measurement in a row that is no better lowers the rate, and the count starts again."""
    values = [2.0, 1.0, 1.5, None, 1.0, 1.0, 1.2, 0.5, 0.6]
    expected = [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert rates(ReduceOnPlateau(patience=1, factor=0.5), values) == pytest.approx(expected)
    rising = rates(ReduceOnPlateau(patience=1, factor=0.5, mode="max"), values)
    assert rising == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125])


def test_a_plateaus_memory_is_json_and_goes_on_elsewhere():
    first, second = (ReduceOnPlateau(patience=1, factor=0.5) for _ in range(2))
    for step, value in enumerate([1.0, 2.0]):
        assert first(step, None, {"valid/loss": value}) is None
    second.memory = json.loads(json.dumps(first.memory))
    state = State(jnp.int32(0), jax.random.key(0), {}, PlateauScale(jnp.ones(())))
    assert float(second(2, state, {"valid/loss": 2.0}).opt_state.scale) == 0.5
    assert second.memory["state"][:2] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("mode", "values"), [("max", [1.0, 2.0, None, 1.5, 1.9, 3.0]), ("min", [3, 2, None, 2.5, 2.1, 1])]
)
def test_each_measure_no_better_than_the_best_halves_the_rate_without_patience(mode, values, capsys):
    """The fourth and fifth are worse than 2: a half, then a quarter of the rate."""
    hook = ReduceOnPlateau("valid/score", patience=0, mode=mode, factor=0.5)
    state = State(jnp.int32(0), jnp.int32(0), {}, {"outer": PlateauScale(jnp.ones(()))})
    found = [
        hook(step, state, {"valid/score": value} if value else {"valid/loss": 9.0}) for step, value in enumerate(values)
    ]
    assert [after if after is None else float(after.opt_state["outer"].scale) for after in found] == [
        None, None, None, 0.5, 0.25, None,
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "no better valid/score than 2: from step 3 on 0.5 of the learning rate" in said
    assert "no better valid/score than 2: from step 4 on 0.25 of the learning rate" in said
