"""Methods of search: which trials run, and for how long (`--method`).

Methods that keep the trials' states (halving, hyperband, pbt) need settings that share one compiled step.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.run.progress import say
from dlcore.search import space as spaces
from dlcore.search.halving import Rung, hyperband_brackets, rungs, successive_halving
from dlcore.search.population import PopulationBasedTraining
from dlcore.search.space import Space, narrow
from dlcore.search.together import scores_of, select
from dlcore.search.trials import Trial, can_share, run_together, run_trials, trial_of
from dlcore.setting import FlagError

__all__ = ["METHODS", "Outcome", "Search"]

RANKING = "Trials are ranked by the rung that they reached, then by their score there."

METHODS = ("grid", "random", "latin", "sobol", "coarse_to_fine", "halving", "hyperband", "pbt")


class Search(NamedTuple):
    """One search.

    Args:
      module: dotted name of the experiment's module, such as experiments.classification.supervised.
      base: run of the experiment with the settings that all trials share.
      data: splits of its data.
      flags: resolved settings of the search itself.
      space: the search space.
      argv: flags that all trials share.
      metric: validation metric that ranks the trials.
      monitor_mode: whether the best value of `metric` is "max" or "min".
      share: whether trials of equal shapes may share one compiled step that measures `metric`.
      folder: folder of the trials' runs.
    """

    module: str
    base: ResolvedRun
    data: Splits
    flags: Flags
    space: Space
    argv: Sequence[str]
    metric: str
    monitor_mode: str
    share: bool
    folder: Path

    def run(self) -> "Outcome":
        """Run the trials of `--method`.

        Returns:
          The trials, and remarks of the method.

        Raises:
          FlagError: the settings do not share one compiled step, as the method needs, or its numbers are out of range.
        """
        methods: dict[str, Callable[[Search], Outcome]] = {
            "coarse_to_fine": _coarse_to_fine,
            "halving": _halving,
            "hyperband": _hyperband,
            "pbt": _population,
        }
        return methods.get(self.flags.method, _one_stage)(self)


class Outcome(NamedTuple):
    """Result of a search.

    Args:
      trials: all trials that ran.
      space: final space, which contains the best trial's values.
      remarks: sentences for the report.
    """

    trials: list[Trial]
    space: Space
    remarks: list[str]


def _sample(flags: Flags, space: Space, count: int, seed: int, tried: Sequence[dict] = ()) -> list[dict]:
    if flags.method == "grid":
        return spaces.grid(space, flags.grid_points)
    sampler = {"latin": spaces.latin_hypercube, "sobol": spaces.sobol}.get(flags.method, spaces.random)
    return sampler(space, count, seed, tried)


def _too_few(count: int, requested: int) -> list[str]:
    return (
        [f"The space holds no more than {count} of {requested} trials; none is run twice."] if count < requested else []
    )


def _train(search: Search, rows: list[dict], folder: Path) -> list[Trial]:
    return run_trials(
        search.module,
        search.argv,
        rows,
        folder,
        metric=search.metric,
        monitor_mode=search.monitor_mode,
        processes=search.flags.processes,
        share=search.share,
        data=search.data,
    )


def _one_stage(search: Search) -> Outcome:
    flags = search.flags
    rows = _sample(flags, search.space, flags.trials, flags.search_seed)
    remarks = [] if flags.method == "grid" else _too_few(len(rows), flags.trials)
    return Outcome(_train(search, rows, search.folder), search.space, remarks)


def _coarse_to_fine(search: Search) -> Outcome:
    flags, space = search.flags, search.space
    if flags.trials < 2:
        raise FlagError(f"--trials={flags.trials}: too few for two stages; allowed with coarse_to_fine: at least 2")
    coarse = _train(search, _sample(flags, space, flags.trials // 2, flags.search_seed), search.folder / "coarse")
    sign = 1 if search.monitor_mode == "max" else -1
    finer = narrow(space, [trial.values for trial in coarse], [sign * trial.score for trial in coarse])
    changes = "; ".join(f"{name}: {axis} to {finer[name]}" for name, axis in space.items())
    rows = _sample(
        flags, finer, flags.trials - flags.trials // 2, flags.search_seed + 1, tried=[trial.values for trial in coarse]
    )
    fine = _train(search, rows, search.folder / "fine") if rows else []
    remarks = [f"Narrowed after {len(coarse)} trials: {changes}.", *_too_few(len(coarse) + len(rows), flags.trials)]
    return Outcome([*coarse, *fine], finer, remarks)


def _check_shared(search: Search) -> None:
    """Check that all settings share one compiled step, which methods that keep the trials' states need."""
    numbers = all(isinstance(axis, spaces.Uniform | spaces.LogUniform) for axis in search.space.values())
    if not search.share or not numbers or not can_share(search.base, search.data, list(search.space)):
        names = ", ".join(search.space)
        raise FlagError(
            f"--method={search.flags.method}: {names} cannot all share one compiled step and measure "
            f"{search.metric} in it; allowed: grid, random, latin, sobol, coarse_to_fine"
        )


def _first_rung(search: Search, last: int, default: int) -> int:
    first = search.flags.first
    if first is not None and first > last:
        raise FlagError(f"--first={first}: longer than a run; allowed: 1 to {last}")
    return max(1, default) if first is None else first


def _halving(search: Search) -> Outcome:
    flags, space, eta = search.flags, search.space, search.flags.reduction_factor
    _check_shared(search)
    last, levels = search.base.training_of(search.data).steps, 0
    while flags.trials // eta ** (levels + 1) >= 1:
        levels += 1
    plan = rungs(flags.trials, _first_rung(search, last, last // eta**levels), last, eta)
    values = spaces.random(space, flags.trials, flags.search_seed)
    return Outcome(_bracket(search, values, plan, search.folder), space, [RANKING, _describe_cost([plan])])


def _hyperband(search: Search) -> Outcome:
    flags, space, eta = search.flags, search.space, search.flags.reduction_factor
    _check_shared(search)
    last, trials = search.base.training_of(search.data).steps, []
    brackets = hyperband_brackets(last, eta, _first_rung(search, last, last // eta**3))
    for number, plan in enumerate(brackets):
        values = spaces.random(space, plan[0].trials, flags.search_seed + number)
        trials += _bracket(search, values, plan, search.folder / f"bracket{number}")
    return Outcome(trials, space, [RANKING, f"{len(brackets)} brackets. {_describe_cost(brackets)}"])


def _describe_cost(plans: Sequence[Sequence[Rung]]) -> str:
    steps = sum(b.trials * (b.steps - a) for plan in plans for a, b in zip([0, *[r.steps for r in plan]], plan))  # noqa: B905
    full_cost = sum(plan[0].trials * plan[-1].steps for plan in plans)
    return (
        f"{steps:,} steps in all; {sum(p[0].trials for p in plans)} trials to the end would have taken {full_cost:,}."
    )


def _bracket(search: Search, values: list[dict], plan: Sequence[Rung], folder: Path) -> list[Trial]:
    """Run one bracket of successive halving."""
    run, data, metric, monitor_mode = search.base, search.data, search.metric, search.monitor_mode
    sign = 1 if monitor_mode == "max" else -1
    last: dict[str, Any] = {"rows": None, "state": None}
    curves: list[tuple[list[int], list[float]]] = [([], []) for _ in values]

    def train_rung(rows: list[int], before: int, after: int) -> np.ndarray:
        say(f"{len(rows)} trials to step {after}")
        state, previous_rows = last["state"], last["rows"]
        start = None if state is None else lambda _: select(state, [previous_rows.index(row) for row in rows])
        values_of_rows = [values[row] for row in rows]
        options = {"steps": after - before, "offset": before, "start": start}
        result = run_together(run, data, values_of_rows, folder / f"rung{after}", **options)
        last.update(rows=list(rows), state=result.state)
        scores = scores_of([r for r in result.history if r["split"] == "valid"][-1], metric, len(rows))
        for row, score in zip(rows, scores, strict=True):
            curves[row][0].append(after)
            curves[row][1].append(float(score))
        return sign * scores

    result_of_halving = successive_halving(values, plan, train_rung)
    return [
        trial_of(v, *curve, monitor_mode)._replace(
            step=int(result_of_halving["steps"][i]), score=curve[1][-1], dropped=int(result_of_halving["dropped"][i])
        )
        for i, (v, curve) in enumerate(zip(values, curves, strict=True))
    ]


def _population(search: Search) -> Outcome:
    flags, space, monitor_mode = search.flags, search.space, search.monitor_mode
    _check_shared(search)
    run, data = search.base, search.data
    values = spaces.random(space, flags.trials, flags.search_seed)
    interval = flags.exchange or max(1, run.training_of(data).steps // 10)
    hook = PopulationBasedTraining(space, search.metric, interval, monitor_mode, seed=flags.search_seed)
    facts = {"metric": search.metric, "better": monitor_mode, "exchange": interval, "search_seed": flags.search_seed}
    facts["space"] = {name: str(axis) for name, axis in space.items()}
    result = run_together(run, data, values, search.folder / "population", hooks=[hook], facts=facts)
    valid = [row for row in result.history if row["split"] == "valid"]
    steps = [row["step"] for row in valid]
    scores = np.array([scores_of(row, search.metric, len(values)) for row in valid])
    last = {name: np.asarray(column).tolist() for name, column in result.state.values.items()}
    trials = [
        trial_of({name: last[name][i] for name in space}, steps, scores[:, i], monitor_mode) for i in range(len(values))
    ]
    lineage = hook.memory["lineage"]
    copied = sum(int(np.sum(np.array(entry["parents"]) != np.arange(len(values)))) for entry in lineage)
    (search.folder / "lineage.json").write_text(json.dumps(lineage) + "\n")
    return Outcome(trials, space, [f"{len(lineage)} exchanges, {copied} copies; values are those at the end."])
