"""Who copies whom, where values may go, and a population in a run that escapes a bad rate."""

import jax
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline
from dlcore.models import create_model
from dlcore.run import fit
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement
from dlcore.search.population import PopulationBasedTraining, exploit, explore
from dlcore.search.space import LogUniform
from dlcore.search.together import TrialsState, together

SPACE = {"learning_rate": LogUniform(1e-4, 1.0)}


def test_the_worst_copy_the_best_and_the_middle_stays():
    rng = np.random.default_rng(0)
    scores = np.array([0.5, 0.9, 0.1, 0.6, np.nan, 0.7, 0.8, 0.55, 0.4, 0.3])
    parents = exploit(scores, rng, 0.2)
    assert set(parents[[2, 4]]) <= {1, 6}
    rest = [0, 1, 3, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(parents[rest], rest)
    np.testing.assert_array_equal(exploit(np.full(4, np.nan), rng), np.arange(4))


def test_copied_values_move_by_a_factor_within_the_space():
    values = {"learning_rate": np.array([0.1, 1.0, 1.1e-4, 0.1])}
    moved = explore(values, np.array([True, True, True, False]), SPACE, np.random.default_rng(1))["learning_rate"]
    assert moved[0] / 0.1 in (pytest.approx(0.8), pytest.approx(1.2))
    assert moved[1] in (pytest.approx(0.8), 1.0)
    assert 1e-4 <= moved[2] <= 1.32e-4
    assert moved[3] == 0.1


@pytest.mark.parametrize(("monitor_mode", "best"), [("max", 4), ("min", 0)])
def test_the_best_of_five_replaces_the_worst(monitor_mode, best):
    """Of five trials with metrics 0.1 to 0.5, a fifth is one trial; the record keeps the metrics as they were."""
    hook = PopulationBasedTraining(SPACE, "error", every=10, monitor_mode=monitor_mode)
    values, everyone = {"learning_rate": np.full(5, 0.1)}, np.ones(5, bool)
    state = TrialsState(np.int32(10), np.arange(2), np.arange(5.0), values, everyone, everyone[:1])
    metrics = {f"valid/error/{i}": 0.1 * (i + 1) for i in range(5)}
    after = hook(10, state, metrics)
    expected = np.arange(5.0)
    expected[4 - best] = best
    assert np.asarray(after.inner).tolist() == expected.tolist()
    assert hook.memory["lineage"][0]["scores"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert hook.memory["next"] == 20
    # The copy alone has another rate, and the run's own step stays.
    rates = np.asarray(after.values["learning_rate"])
    assert rates[4 - best] in (pytest.approx(0.08), pytest.approx(0.12))
    np.testing.assert_allclose(np.delete(rates, 4 - best), 0.1, rtol=1e-6)
    np.testing.assert_allclose(hook.memory["lineage"][0]["values"]["learning_rate"], rates, rtol=1e-6)
    assert (hook.memory["lineage"][0]["step"], int(after.step), after.rng.tolist()) == (10, 10, [0, 1])
    # An exchange is due ten steps later, and after a validation.
    assert hook(19, after, metrics) is None
    assert hook(20, after, {"train/error": 1.0}) is None
    assert len(hook.memory["lineage"]) == 1
    assert hook(20, after, {"valid/error/3": 0.2}) is not None
    assert hook.memory["lineage"][1]["scores"] == [None, None, None, 0.2, None]


def test_a_half_may_be_replaced_and_two_trials_are_enough():
    assert exploit(np.array([1.0, 2.0]), np.random.default_rng(0)).tolist() == [1, 1]
    assert exploit(np.array([1.0]), np.random.default_rng(0)).tolist() == [0]
    parents = exploit(np.array([3.0, 1.0, 4.0, 2.0]), np.random.default_rng(0), 0.5)
    assert parents[[0, 2]].tolist() == [0, 2]
    assert set(parents[[1, 3]]) <= {0, 2}
    # Of five a quarter is one.
    assert exploit(np.arange(5.0), np.random.default_rng(0), 0.25).tolist() == [4, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"share=0: out of range; allowed: \(0, 0.5\]"):
        exploit(np.ones(4), np.random.default_rng(0), 0)
    up = explore({"learning_rate": np.full(200, 0.1)}, np.ones(200, bool), SPACE, np.random.default_rng(0))
    found, counts = np.unique(up["learning_rate"].round(6), return_counts=True)
    assert found.tolist() == [0.08, 0.12]
    assert counts.min() > 70


@pytest.mark.weekly
def test_a_population_of_bad_rates_takes_over_the_good_one():
    net = create_model("mlp", num_classes=10)
    learner = together(
        lambda v: supervised.learner(model=net, optimizer=optax.sgd(v["learning_rate"])),
        {"learning_rate": [1e-4, 1e-4, 1e-4, 1e-4, 0.3]},
    )
    hook = PopulationBasedTraining(SPACE, "accuracy", every=20)
    train, valid = digits("train").take(512), digits("test").take(200)
    result = fit(
        learner,
        Pipeline(train, 64),
        steps=100,
        valid=valid,
        hooks=[hook],
        log_every=20,
        eval_every=20,
        progress=False,
        placement=Placement(make_mesh("data:1", jax.devices()[:1])),
    )
    lineage = hook.memory["lineage"]
    assert [entry["step"] for entry in lineage] == [20, 40, 60, 80, 100]
    assert all(4 in entry["parents"] for entry in lineage)
    rates = np.asarray(result.state.values["learning_rate"])
    assert (rates > 0.05).sum() >= 4, rates
    last = [row for row in result.history if row["split"] == "valid"][-1]
    assert sum(last[f"accuracy/{i}"] > 0.7 for i in range(5)) >= 3
