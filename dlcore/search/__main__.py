"""Search the settings of an experiment.

python -m dlcore.search experiments.classification.supervised learning_rate=log:1e-4:1 l2=log:1e-6:1e-2 \\
    --trials=24 --model=mlp --steps=300

The first word is a module with an experiment that has a learner; a space is log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or
A,B,C. Methods: grid, random, latin, sobol; coarse_to_fine (half of the trials over the whole space, half where the best
quarter lay); halving (a third of the trials goes on, three times as long); hyperband (several of these, from many short
trials to few long ones); pbt (the trials are a population). Trials are judged by the experiment's validation metric and never
see the test split; --retrain trains the best on training and validation data, and tests it once. The same command
resumes.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcore.experiment.flags import Flags, parse
from dlcore.experiment.resolve import resolve
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.learner import Range
from dlcore.run.progress import say
from dlcore.search import space as spaces
from dlcore.search.halving import Rung, hyperband_brackets, rungs, successive_halving
from dlcore.search.population import PopulationBasedTraining
from dlcore.search.report import ranked, search_report, text_table
from dlcore.search.space import Space, edges, narrow, parse_space
from dlcore.search.together import scores_of, select
from dlcore.search.trials import Trial, can_share, experiment_of, retrain, run_of, run_together, run_trials, trial_of

__all__ = ["OWN", "main", "search", "take_apart"]

METHODS = ("grid", "random", "latin", "sobol", "coarse_to_fine", "halving", "hyperband", "pbt")
OWN = {
    "method": Setting("random", "how trials are chosen", Literal[METHODS]),
    "trials": Setting(16, "how many, of a grid as its points give", limits=Range(1)),
    "points": Setting(3, "grid: values an axis", limits=Range(1)),
    "search_seed": Setting(0, "of the draws", limits=Range(0)),
    "metric": Setting(None, "validation metric; the experiment's by default", str | None),
    "better": Setting(
        None, "whether max or min is better; min for a loss, else as the experiment says", Literal["max", "min"] | None
    ),
    "eta": Setting(3, "halving: one of so many goes on", limits=Range(2)),
    "first": Setting(None, "halving: steps of the first rung; by default such that one trial sees all", int | None),
    "exchange": Setting(None, "pbt: steps between two exchanges; a tenth of the run by default", int | None),
    "workers": Setting(1, "processes for trials that cannot share a program", limits=Range(1)),
    "share": Setting(True, "let trials of equal shapes share one compiled step"),
    "retrain": Setting(False, "train the best on training and validation data, and test it once"),
    "out": Setting(None, "folder; runs/search.PAGE/HASH of the command by default", str | None),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search; 0, 1 (it could not be done) or 2 (bad words)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__.strip() + "\n\n" + "\n".join(f"  --{n}  {s.help} (default {s.default})" for n, s in OWN.items()))
        return 0 if argv else 2
    try:
        return search(argv[0], argv[1:])
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def take_apart(words: Sequence[str]) -> tuple[Flags, list[str], list[str]]:
    """(the search's own flags, words of the space, flags of the experiment)."""
    own, axes, rest = [], [], []
    for word in words:
        if not word.startswith("-"):
            axes.append(word)
            continue
        name = word.lstrip("-").split("=")[0]
        (own if name in OWN or name.removeprefix("no") in OWN else rest).append(word)
    return parse({"search": OWN}, own), axes, rest


def search(module: str, words: Sequence[str]) -> int:
    """Choose trials, run them, write table and report; the exit status."""
    own, axes, argv = take_apart(words)
    space = parse_space(axes)
    experiment = experiment_of(module)
    flags = resolve(experiment, argv)
    if unknown := [name for name in space if name not in flags]:
        raise FlagError(f"{experiment.name} has no setting {', '.join(unknown)}; --help of the experiment lists all")
    metric = own.metric or experiment.monitor
    if metric is None:
        raise FlagError(f"{experiment.name} names no validation metric: give --metric")
    monitor_mode = own.better or ("min" if metric.endswith(("loss", "error")) else experiment.monitor_mode)
    experiment = dataclasses.replace(experiment, monitor_mode=monitor_mode)
    digest = hashlib.sha256(json.dumps([module, *sorted(words)]).encode()).hexdigest()[:10]
    folder = Path(own.out) if own.out else Path(flags.runs) / f"search.{experiment.name}" / digest
    folder.mkdir(parents=True, exist_ok=True)
    find = {"coarse_to_fine": _two_stages, "halving": _halving, "hyperband": _hyperband, "pbt": _population}.get(
        own.method, _one_stage
    )
    trials, space, remarks = find(module, experiment, own, space, argv, metric, folder)
    return _finish(module, experiment, own, space, argv, metric, folder, trials, remarks)


def _draw(own: Flags, space: Space, count: int, seed: int) -> list[dict]:
    if own.method == "grid":
        return spaces.grid(space, own.points)
    draw = {"latin": spaces.latin_hypercube, "sobol": spaces.sobol}.get(own.method, spaces.random)
    return draw(space, count, seed)


def _one_stage(module, experiment, own, space, argv, metric, folder):
    rows = _draw(own, space, own.trials, own.search_seed)
    options = {"metric": metric, "monitor_mode": experiment.monitor_mode, "workers": own.workers, "share": own.share}
    return run_trials(module, argv, rows, folder, **options), space, []


def _two_stages(module, experiment, own, space, argv, metric, folder):
    options = {"metric": metric, "monitor_mode": experiment.monitor_mode, "workers": own.workers, "share": own.share}
    coarse = run_trials(module, argv, _draw(own, space, own.trials // 2, own.search_seed), folder / "coarse", **options)
    sign = 1 if experiment.monitor_mode == "max" else -1
    finer = narrow(space, [t.values for t in coarse], [sign * t.score for t in coarse])
    said = "; ".join(f"{name}: {axis} to {finer[name]}" for name, axis in space.items())
    rows = _draw(own, finer, own.trials - own.trials // 2, own.search_seed + 1)
    fine = run_trials(module, argv, rows, folder / "fine", **options)
    return [*coarse, *fine], space, [f"Narrowed after {len(coarse)} trials: {said}."]


def _job_and_data(module: str, argv: Sequence[str], space: Space) -> tuple[Any, Splits]:
    """For methods that keep the trials' states: all settings must share one program."""
    run = run_of(experiment_of(module), argv, {})
    data = run.experiment.data(run.flags)
    if data.valid is None:
        raise ValueError(f"{module} has no validation split to choose by")
    if not all(isinstance(axis, spaces.Uniform | spaces.LogUniform) for axis in space.values()) or not can_share(
        run, data, list(space)
    ):
        raise ValueError(f"{', '.join(space)}: these cannot all share one compiled step; choose another --method")
    return run, data


def _halving(module, experiment, own, space, argv, metric, folder):
    run, data = _job_and_data(module, argv, space)
    last, levels = run.steps(len(data.train)), 0
    while own.trials // own.eta ** (levels + 1) >= 1:
        levels += 1
    plan = rungs(own.trials, own.first or max(1, last // own.eta**levels), last, own.eta)
    values = spaces.random(space, own.trials, own.search_seed)
    trials = _bracket(run, data, values, plan, metric, experiment.monitor_mode, folder)
    return trials, space, [_spent([plan])]


def _hyperband(module, experiment, own, space, argv, metric, folder):
    run, data = _job_and_data(module, argv, space)
    last, trials = run.steps(len(data.train)), []
    brackets = hyperband_brackets(last, own.eta, own.first or max(1, last // own.eta**3))
    for number, plan in enumerate(brackets):
        values = spaces.random(space, plan[0].trials, own.search_seed + number)
        trials += _bracket(run, data, values, plan, metric, experiment.monitor_mode, folder / f"bracket{number}")
    return trials, space, [f"{len(brackets)} brackets. {_spent(brackets)}"]


def _spent(plans: Sequence[Sequence[Rung]]) -> str:
    steps = sum(b.trials * (b.steps - a) for plan in plans for a, b in zip([0, *[r.steps for r in plan]], plan))  # noqa: B905
    whole = sum(plan[0].trials * plan[-1].steps for plan in plans)
    return f"{steps:,} steps in all; {sum(p[0].trials for p in plans)} trials to the end would have taken {whole:,}."


def _bracket(run, data, values, plan, metric, monitor_mode, folder) -> list[Trial]:
    """The trials of one successive halving."""
    sign = 1 if monitor_mode == "max" else -1
    kept: dict[str, Any] = {"rows": None, "state": None}
    curves: list[tuple[list[int], list[float]]] = [([], []) for _ in values]

    def advance(rows: list[int], before: int, after: int) -> np.ndarray:
        say(f"{len(rows)} trials to step {after}")
        state, old = kept["state"], kept["rows"]
        start = None if state is None else lambda _: select(state, [old.index(row) for row in rows])
        result = run_together(
            run,
            data,
            [values[row] for row in rows],
            folder / f"rung{after}",
            steps=after - before,
            offset=before,
            start=start,
        )
        kept.update(rows=list(rows), state=result.state)
        scores = scores_of([r for r in result.history if r["split"] == "valid"][-1], metric, len(rows))
        for row, score in zip(rows, scores, strict=True):
            curves[row][0].append(after)
            curves[row][1].append(float(score))
        return sign * scores

    found = successive_halving(values, plan, advance)
    return [
        trial_of(v, *curve, monitor_mode)._replace(step=int(found["steps"][i]), score=curve[1][-1])
        for i, (v, curve) in enumerate(zip(values, curves, strict=True))
    ]


def _population(module, experiment, own, space, argv, metric, folder):
    run, data = _job_and_data(module, argv, space)
    values = spaces.random(space, own.trials, own.search_seed)
    every = own.exchange or max(1, run.steps(len(data.train)) // 10)
    hook = PopulationBasedTraining(space, metric, every, experiment.monitor_mode, seed=own.search_seed)
    result = run_together(run, data, values, folder / "population", hooks=[hook])
    valid = [row for row in result.history if row["split"] == "valid"]
    scores = np.array([scores_of(row, metric, len(values)) for row in valid])
    last = {name: np.asarray(column).tolist() for name, column in result.state.values.items()}
    trials = [
        trial_of(
            {name: last[name][i] for name in space}, [r["step"] for r in valid], scores[:, i], experiment.monitor_mode
        )
        for i in range(len(values))
    ]
    copied = sum(int(np.sum(np.array(e["parents"]) != np.arange(len(values)))) for e in hook.memory["lineage"])
    said = f"{len(hook.memory['lineage'])} exchanges, {copied} copies; values are those at the end."
    (folder / "lineage.json").write_text(json.dumps(hook.memory["lineage"]) + "\n")
    return trials, space, [said]


def _finish(module, experiment, own, space, argv, metric, folder, trials: list[Trial], remarks: list[str]) -> int:
    best = trials[ranked(trials, experiment.monitor_mode)[0]]
    if not np.isfinite(best.score):
        raise ValueError(f"no trial of {len(trials)} has a finite {metric}: lower the rates")
    said = [*remarks, *(f"{edge}." for edge in edges(space, best.values))]
    cards = {f"best valid {metric}": f"{best.score:.4f}", "trials": str(len(trials)), "at step": f"{best.step:,}"}
    cards |= {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in best.values.items()}
    lost = sum(not np.isfinite(t.score) for t in trials)
    if lost:
        said.append(f"{lost} of {len(trials)} trials were not finite.")
    if own.retrain:
        numbers = retrain(module, argv, best, folder)
        shown = ", ".join(f"{k} {v:.4f}" for k, v in numbers.items() if "/" not in k and v is not None)
        said.append(f"Retrained on training and validation data for {best.step} steps, tested once: {shown}.")
    rows = [{"values": t.values, "score": t.score if np.isfinite(t.score) else None, "step": t.step} for t in trials]
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    details = {
        "experiment": module,
        "method": own.method,
        "flags": " ".join(argv),
        **{k: str(v) for k, v in space.items()},
    }
    html = search_report(
        trials, space, metric, experiment.monitor_mode, f"search of {experiment.name}", said, cards, details
    )
    (folder / "report.html").write_text(html)
    print(text_table(trials, metric, experiment.monitor_mode))
    for sentence in said:
        say(sentence)
    say(f"report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
