"""Run the trials of an experiment: those of equal shapes in one compiled step, the others one by one or in processes.

Only training and validation data are seen; the score of a trial is the best value of the validation metric. Every group
of trials is a run of `dlcore.run.fit` in a folder of its own, so the same command resumes, and finished trials are not
trained again. The test split is read by `retrain`, once.
"""

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.data.source import join
from dlcore.diagnostics.trace import first_reads
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.splits import Splits
from dlcore.learner import Learner
from dlcore.run.evaluate import evaluate, scalars
from dlcore.run.fit import Result, Saving, fit
from dlcore.run.progress import say
from dlcore.search.together import TrialsState, scores_of, together

__all__ = [
    "OffsetPipeline",
    "Trial",
    "can_share",
    "experiment_of",
    "groups",
    "retrain",
    "run_of",
    "run_together",
    "run_trials",
    "trial_of",
]


class Trial(NamedTuple):
    """A trial that was run.

    Args:
      values: {setting: value}.
      score: the best of the validation metric; NaN where it never was finite.
      step: of the score.
      curve: (steps, scores) of all validations.
    """

    values: dict[str, Any]
    score: float
    step: int
    curve: tuple[list[int], list[float]]


class OffsetPipeline:
    """A pipeline from some step on.

    Args:
      pipeline: of batches.
      offset: its step that is the first here.
    """

    def __init__(self, pipeline: Any, offset: int):
        self.pipeline, self.offset = pipeline, offset

    def batch_at(self, step: int) -> Any:
        """Read the batch of step + offset.

        Args:
          step: counted from the offset.

        Returns:
          The batch.
        """
        return self.pipeline.batch_at(step + self.offset)

    @property
    def settings(self) -> dict[str, Any]:
        """The pipeline's settings, and the offset."""
        return {**self.pipeline.settings, "offset": self.offset}


def experiment_of(module: str) -> Experiment:
    """Import an experiment.

    Args:
      module: such as experiments.classification.supervised.

    Returns:
      The module's `experiment`.

    Raises:
      ValueError: there is no such module, or it has no experiment with a learner.
    """
    try:
        experiment = import_module(module).experiment
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{module}: {error}; allowed: a module with an experiment") from None
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{module}: a {type(experiment).__name__} without a learner; allowed: an Experiment")
    return experiment


def _words(values: dict[str, Any]) -> list[str]:
    return [
        f"--{name}={value!r}" if isinstance(value, float) else f"--{name}={value}" for name, value in values.items()
    ]


def run_of(experiment: Experiment, argv: Sequence[str], values: dict[str, Any]) -> ResolvedRun:
    """Resolve an experiment with a trial's values.

    Args:
      experiment: to be run.
      argv: flags that all trials have.
      values: {setting: value} of the trial.

    Returns:
      The run.

    Raises:
      FlagError: a value is not allowed.
    """
    return ResolvedRun(experiment, resolve(experiment, [*argv, *_words(values)]))


def _builder(run: ResolvedRun, data: Splits) -> Callable[[dict], Learner]:
    """Values of settings, traced or not -> the experiment's learner."""
    setup = run.setup_of(data)
    return lambda row: run.experiment.build(setup._replace(flags=run.flags.replace(**row)))


def can_share(run: ResolvedRun, data: Splits, names: Sequence[str]) -> bool:
    """Whether one compiled step serves all values of some settings: `build` takes them traced, and uses every one.

    A setting that it does not use (epochs, valid_fraction) acts elsewhere.

    Args:
      run: of the experiment.
      data: its splits.
      names: of the settings.

    Returns:
      Whether it does; False for no settings.
    """
    if not names:
        return False
    build, batch = _builder(run, data), run.pipelines(data.train).batch_at(0)

    def step(row: dict) -> Any:
        learner = build(row)
        return learner.update(learner.init(jax.random.key(0), batch), batch)

    try:
        reads = first_reads(step, {name: jax.ShapeDtypeStruct((), np.float32) for name in names})
    except (TypeError, ValueError, jax.errors.JAXTypeError):
        return False
    return None not in reads


def groups(trials: Sequence[dict], shared: Sequence[str]) -> list[list[int]]:
    """Group trials that differ in nothing but some settings.

    Args:
      trials: {setting: value} each.
      shared: the settings that may differ.

    Returns:
      Rows of the trials of each group.
    """
    rows_of: dict[str, list[int]] = {}
    for row, values in enumerate(trials):
        rows_of.setdefault(repr([(k, v) for k, v in sorted(values.items()) if k not in shared]), []).append(row)
    return list(rows_of.values())


def run_together(
    run: ResolvedRun,
    data: Splits,
    rows: Sequence[dict],
    folder: Path,
    *,
    steps: int | None = None,
    offset: int = 0,
    start: Callable[[TrialsState], TrialsState] | None = None,
    hooks: Sequence = (),
) -> Result:
    """Train trials in one run of `together`; the schedule is that of the whole run whatever `steps`.

    Args:
      run: of the experiment.
      data: its splits.
      rows: {setting: value} of each trial, floats.
      folder: of the run.
      steps: length of this run; None for that of the whole.
      offset: step of the whole run at which this one starts.
      start: changes the state before the first step; None leaves it.
      hooks: of `fit`.

    Returns:
      What `fit` returns.
    """
    learner = together(_builder(run, data), {name: [row[name] for row in rows] for name in rows[0]})
    pipeline = OffsetPipeline(run.pipelines(data.train), offset) if offset else run.pipelines(data.train)
    return _fit(run, learner, pipeline, data, folder, steps or run.steps(len(data.train)), start=start, hooks=hooks)


def _fit(
    run: ResolvedRun, learner: Any, pipeline: Any, data: Splits, folder: Path, steps: int, **options: Any
) -> Result:
    flags = run.flags
    return fit(
        learner,
        pipeline,
        steps=steps,
        seed=flags.seed,
        folder=folder,
        valid=data.valid,
        placement=run.placement(),
        eval_batch_size=flags.eval_batch_size,
        log_every=flags.log_every,
        eval_every=run.eval_every(len(data.train)),
        progress=False,
        saving=Saving(flags.checkpoint_seconds, flags.checkpoint_steps, 1),
        **options,
    )


def _alone(module: str, argv: Sequence[str], values: dict[str, Any], folder: Path) -> list[dict]:
    """The history of one trial; also run in processes of its own."""
    run = run_of(experiment_of(module), argv, values)
    data = run.experiment.data(run.flags)
    learner = run.experiment.build(run.setup_of(data))
    steps = run.steps(len(data.train))
    try:
        return _fit(run, learner, run.pipelines(data.train), data, folder, steps).history
    except FloatingPointError as error:
        say(f"{_summary(values)}: {str(error).splitlines()[0]}")
        return []


def _summary(values: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def trial_of(values: dict[str, Any], steps: Sequence[int], scores: Sequence[float], monitor_mode: str) -> Trial:
    """Score a trial by its validations.

    Args:
      values: {setting: value}.
      steps: [N], of the validations.
      scores: [N]; NaN is no score.
      monitor_mode: whether the best score is "max" or "min".

    Returns:
      The trial.
    """
    scores = [float(s) for s in scores]
    good = [i for i, s in enumerate(scores) if np.isfinite(s)]
    if not good:
        return Trial(values, float("nan"), 0, (list(steps), scores))
    best = (max if monitor_mode == "max" else min)(good, key=lambda i: scores[i])
    return Trial(values, scores[best], int(steps[best]), (list(steps), scores))


def run_trials(
    module: str,
    argv: Sequence[str],
    trials: Sequence[dict],
    folder: Path,
    *,
    metric: str,
    monitor_mode: str = "max",
    workers: int = 1,
    share: bool = True,
) -> list[Trial]:
    """Train every trial of an experiment.

    Args:
      module: of the experiment, such as experiments.classification.supervised.
      argv: flags that all trials have.
      trials: {setting: value} each.
      folder: where their runs are written.
      metric: the validation metric by which trials are judged.
      monitor_mode: whether the best metric is "max" or "min".
      workers: processes for trials that cannot share a program.
      share: whether trials may share a program.

    Returns:
      The trials, in their order.

    Raises:
      FlagError: a value is not allowed.
      ValueError: the experiment has no validation split or no such metric.
    """
    experiment = experiment_of(module)
    jobs = [run_of(experiment, argv, values) for values in trials]
    data = experiment.data(jobs[0].flags)
    if data.valid is None:
        raise ValueError(f"{module}: has no validation split; allowed: an experiment with one")
    numbers = [name for name in trials[0] if all(isinstance(t[name], float) for t in trials)]
    shared = numbers if share and can_share(jobs[0], data, numbers) else []
    finished: dict[int, Trial] = {}
    alone: list[int] = []
    parts = groups(trials, shared)
    for number, rows in enumerate(parts):
        if len(rows) == 1 or not shared:
            alone += rows
            continue
        say(f"{len(rows)} trials in one step ({number + 1} of {len(parts)})")
        values = [{name: trials[row][name] for name in shared} for row in rows]
        result = run_together(jobs[rows[0]], data, values, folder / f"group{number}")
        valid = [row for row in result.history if row["split"] == "valid"]
        scores = np.array([scores_of(row, metric, len(rows)) for row in valid])
        for i, row in enumerate(rows):
            finished[row] = trial_of(trials[row], [v["step"] for v in valid], scores[:, i], monitor_mode)
    one = functools.partial(_history_of, module, list(argv), folder)
    if workers > 1 and len(alone) > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            histories = list(pool.map(one, [trials[row] for row in alone], alone))
    else:
        histories = [one(trials[row], row) for row in alone]
    for row, history in zip(alone, histories, strict=True):
        valid = [r for r in history if r["split"] == "valid"]
        if valid and metric not in valid[-1]:
            raise ValueError(f"metric={metric!r}: no validation metric; allowed: {', '.join(valid[-1])}")
        scores = [np.nan if r[metric] is None else r[metric] for r in valid]
        finished[row] = trial_of(trials[row], [r["step"] for r in valid], scores, monitor_mode)
    return [finished[row] for row in range(len(trials))]


def _history_of(module: str, argv: list[str], folder: Path, values: dict[str, Any], row: int) -> list[dict]:
    say(f"trial {row}: {_summary(values)}")
    return _alone(module, argv, values, folder / f"trial{row}")


def retrain(module: str, argv: Sequence[str], best: Trial, folder: Path) -> dict[str, float | None]:
    """Train with the best values, for the best number of steps, on training and validation data, and test once.

    Args:
      module: of the experiment.
      argv: flags that all trials have.
      best: the best trial.
      folder: in which the run `retrained` is written.

    Returns:
      Metrics of the test split, {name: value}.
    """
    run = run_of(experiment_of(module), argv, best.values)
    data = run.experiment.data(run.flags)
    whole = data._replace(train=join(data.train, data.valid), valid=None)
    learner = run.experiment.build(run.setup_of(data))
    result = _fit(run, learner, run.pipelines(whole.train), whole, folder / "retrained", best.step)
    size, placement = run.flags.eval_batch_size, run.placement()
    return scalars(evaluate(learner, result.state, data.test, batch_size=size, placement=placement))
