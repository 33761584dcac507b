"""Which trials each method runs and for how long, on a toy whose score is its learning rate; nothing is trained."""

import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.experiment.setting import FlagError
from dlcore.search import methods, space
from dlcore.search.methods import METHODS, Search
from dlcore.search.trials import Trial

RATE = {"learning_rate": space.Uniform(0.0, 1.0)}


@pytest.fixture
def search(monkeypatch, tmp_path):
    """(method, flags) -> its search, whose `calls` hold (folder, number of trials, further arguments)."""
    calls = []

    def run_trials(module, argv, rows, folder, **rest):
        calls.append((folder.name, len(rows), rest))
        return [Trial(row, row["learning_rate"], 5, ([5], [row["learning_rate"]])) for row in rows]

    def run_together(run, data, rows, folder, **rest):
        calls.append((folder.name, len(rows), rest))
        scores = {f"accuracy/{i}": row["learning_rate"] for i, row in enumerate(rows)}
        history = [{"split": "valid", "step": 1, **dict.fromkeys(scores, 0.0)}, {"split": "valid", "step": 2, **scores}]
        history += [{"split": "train", "step": 3}]
        for hook in rest.get("hooks", ()):
            hook.memory["lineage"] = [{"parents": [0, 0, 2]}, {"parents": [1, 1, 0]}]
        values = {name: jnp.array([row[name] / 2 for row in rows]) for name in rows[0]}
        return types.SimpleNamespace(history=history, state=types.SimpleNamespace(values=values, tag=folder.name))

    monkeypatch.setattr(methods, "run_trials", run_trials)
    monkeypatch.setattr(methods, "run_together", run_together)
    monkeypatch.setattr(methods, "can_share", lambda base, data, names: names == ["learning_rate"])
    monkeypatch.setattr(methods, "select", lambda state, rows: (state.tag, rows))

    def build(method, axes=RATE, share=True, monitor_mode="max", steps=27, **changes):
        flags = {"trials": 9, "search_seed": 3, "grid_points": 4, "processes": 2, "first": None, "exchange": None}
        flags = types.SimpleNamespace(method=method, reduction_factor=3, **{**flags, **changes})
        base = types.SimpleNamespace(setup_of=lambda data: types.SimpleNamespace(steps=steps))
        folder = tmp_path / method
        folder.mkdir(exist_ok=True)
        return Search("m", base, "data", flags, axes, ["--a"], "accuracy", monitor_mode, share, folder)

    build.calls = calls
    return build


@pytest.mark.parametrize("method", ["grid", "random", "latin", "sobol"])
def test_one_stage_runs_all_its_trials(search, method):
    outcome = search(method, trials=8).run()
    rates = sorted(trial.values["learning_rate"] for trial in outcome.trials)
    assert len(rates) == (4 if method == "grid" else 8)
    if method == "grid":
        np.testing.assert_allclose(rates, [0, 1 / 3, 2 / 3, 1])
    if method in ("latin", "sobol"):  # one trial in each eighth
        assert [int(8 * rate) for rate in rates] == list(range(8))
    expected = {"random": space.random, "latin": space.latin_hypercube, "sobol": space.sobol}
    if method in expected:
        assert [t.values for t in outcome.trials] == expected[method](RATE, 8, 3, ())
    assert outcome.remarks == []
    (name, _, rest) = search.calls[0]
    assert (name, rest["processes"], rest["share"], rest["metric"]) == (method, 2, True, "accuracy")
    assert method in METHODS


def test_a_space_of_few_values_says_so(search):
    choices = {"learning_rate": space.Choice((0.1, 0.2))}
    outcome = search("random", choices, trials=5).run()
    assert outcome.remarks == ["The space holds no more than 2 of 5 trials; none is run twice."]
    assert search("grid", choices, trials=5).run().remarks == []


@pytest.mark.parametrize("monitor_mode", ["max", "min"])
def test_the_fine_half_surrounds_the_best_of_the_coarse(search, monitor_mode):
    outcome = search("coarse_to_fine", trials=9, monitor_mode=monitor_mode).run()
    assert [call[:2] for call in search.calls] == [("coarse", 4), ("fine", 5)]
    rates = [trial.values["learning_rate"] for trial in outcome.trials]
    best = max(rates[:4]) if monitor_mode == "max" else min(rates[:4])
    axis = outcome.space["learning_rate"]
    assert axis.low <= best <= axis.high
    assert axis.high - axis.low < 1
    assert all(axis.low <= rate <= axis.high for rate in rates[4:])
    assert outcome.remarks[0].startswith("Narrowed after 4 trials: learning_rate: ")
    expected = space.random(outcome.space, 5, 4, tried=[trial.values for trial in outcome.trials[:4]])
    assert [trial.values for trial in outcome.trials[4:]] == expected
    with pytest.raises(FlagError, match="--trials=1: too few for two stages"):
        search("coarse_to_fine", trials=1).run()
    assert len(search("coarse_to_fine", trials=2).run().trials) == 2


def test_a_third_of_the_trials_goes_on_for_three_times_the_steps(search):
    """9 trials, 27 steps: rungs of 9, 3 and 1 trials that end at 3, 9 and 27 steps."""
    outcome = search("halving").run()
    assert [call[:2] for call in search.calls] == [("rung3", 9), ("rung9", 3), ("rung27", 1)]
    rests = [rest for _, _, rest in search.calls]
    assert [(rest["steps"], rest["offset"]) for rest in rests] == [(3, 0), (6, 3), (18, 9)]
    assert rests[0]["start"] is None
    rates = np.array([trial.values["learning_rate"] for trial in outcome.trials])
    order = np.argsort(-rates)
    assert rests[1]["start"](None) == ("rung3", order[:3].tolist())
    assert rests[2]["start"](None) == ("rung9", [0])  # the best, at its place among the three
    best = outcome.trials[order[0]]
    assert (best.step, best.dropped, best.score, best.curve[0]) == (27, 0, rates.max(), [3, 9, 27])
    assert sorted(trial.dropped for trial in outcome.trials) == [0, 1, 1, 2, 2, 2, 2, 2, 2]
    # 9 * 3 + 3 * 6 + 1 * 18 = 63 of 9 * 27 = 243.
    assert outcome.remarks[1] == "63 steps in all; 9 trials to the end would have taken 243."
    worst = search("halving", monitor_mode="min").run().trials
    assert worst[int(np.argmin(rates))].step == 27


def test_the_first_rung_may_be_set(search):
    search("halving", first=9).run()
    assert [call[:2] for call in search.calls] == [("rung9", 9), ("rung27", 3)]
    with pytest.raises(FlagError, match="--first=28: longer than a run; allowed: 1 to 27"):
        search("halving", first=28).run()
    search.calls.clear()
    search("halving", steps=2).run()  # 2 // 9 = 0 steps: at least one
    assert search.calls[0][:2] == ("rung1", 9)


def test_hyperband_has_brackets_of_ever_longer_first_rungs(search):
    """First rungs of 27 / 3^3 = 1 step: brackets of 27, 12, 6 and 4 trials."""
    outcome = search("hyperband").run()
    firsts = [call[:2] for call in search.calls if call[2]["offset"] == 0]
    assert firsts == [("rung1", 27), ("rung3", 12), ("rung9", 6), ("rung27", 4)]
    assert len(outcome.trials) == 49
    assert outcome.remarks[1].startswith("4 brackets. ")
    assert [t.values for t in outcome.trials[27:39]] == space.random(RATE, 12, 4)
    search.calls.clear()
    search("hyperband", steps=81).run()  # 81 / 3^3 = 3 steps
    assert search.calls[0][:2] == ("rung3", 27)


def test_a_population_ends_with_the_values_that_it_moved_to(search):
    built = search("pbt", trials=3, steps=50)
    outcome = built.run()
    (name, count, rest) = search.calls[0]
    (hook,) = rest["hooks"]
    assert (name, count, hook.every, hook.seed, hook.sign) == ("population", 3, 5, 3, 1.0)
    assert rest["facts"]["exchange"] == 5
    drawn = space.random(RATE, 3, 3)
    np.testing.assert_allclose(
        [trial.values["learning_rate"] for trial in outcome.trials],
        [row["learning_rate"] / 2 for row in drawn],
        rtol=1e-6,
    )
    np.testing.assert_allclose([trial.score for trial in outcome.trials], [row["learning_rate"] for row in drawn])
    assert outcome.trials[1].curve[0] == [1, 2]
    # (0, 0, 2) copies one trial, (1, 1, 0) two.
    assert outcome.remarks == ["2 exchanges, 3 copies; values are those at the end."]
    assert len(json.loads((built.folder / "lineage.json").read_text())) == 2
    search("pbt", trials=3, exchange=7).run()
    assert search.calls[-1][2]["hooks"][0].every == 7
    search("pbt", trials=3, steps=5).run()
    assert search.calls[-1][2]["hooks"][0].every == 1


@pytest.mark.parametrize("method", ["halving", "hyperband", "pbt"])
def test_states_are_kept_only_where_one_step_is_shared(search, method):
    choices = {"learning_rate": space.Choice((0.1, 0.2))}
    other = {"width": space.Uniform(0.0, 1.0)}
    for axes, share in ((RATE, False), (choices, True), (other, True)):
        with pytest.raises(FlagError, match=f"--method={method}: .* cannot all share one compiled step"):
            search(method, axes, share).run()
