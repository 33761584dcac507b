"""Run the trials of an experiment: those of equal shapes in one compiled step, the others one by one or in processes.

Trials use training and validation data only; the score of a trial is the best value of the validation metric. Every
group of trials is a run of `dlcore.run.fit` in its own `TrialFolder`, so that the same command resumes, and finished
trials are not trained again. Only `retrain` and `measure_ensemble` read the test split, once.
"""

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.pipeline import batch_at, settings
from dlcore.data.source import join
from dlcore.data.splits import Splits
from dlcore.diagnostics.trace import first_reads
from dlcore.evaluators.ensemble import ensemble
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, fast_compilation, prepare_process
from dlcore.learner import Learner, root_key
from dlcore.modes.train import fit_arguments
from dlcore.ops.checks import check_shapes
from dlcore.run.evaluate import evaluate, scalars
from dlcore.run.fit import Result, Saving, fit
from dlcore.run.progress import say
from dlcore.search.together import TrialsState, evaluator_of_trials, scores_of, start_of_trials, together
from dlcore.search.trial_folder import OtherTraining, TrialFolder
from dlcore.weights.check import load_data

__all__ = [
    "OffsetPipeline",
    "Trial",
    "can_share",
    "experiment_of",
    "groups",
    "measure_ensemble",
    "retrain",
    "run_of",
    "run_together",
    "run_trials",
    "summary",
    "trial_of",
]

_NO_METRICS = {"step", "split", "epoch"}


class Trial(NamedTuple):
    """A trial and its score.

    Args:
      values: {setting: value}.
      score: best value of the validation metric; NaN if it never was finite.
      step: step at which the score was measured.
      curve: (steps, scores) of all validations.
      dropped: number of rungs of successive halving that it did not reach.
      error: message of the error by which it failed; empty if it did not.
    """

    values: dict[str, Any]
    score: float
    step: int
    curve: tuple[list[int], list[float]]
    dropped: int = 0
    error: str = ""


class OffsetPipeline:
    """A pipeline that starts at a later step.

    Args:
      pipeline: pipeline of batches, or a dict of pipelines.
      offset: step of the pipeline that becomes step 0.
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
        return batch_at(self.pipeline, step + self.offset)

    @property
    def settings(self) -> dict[str, Any]:
        """The pipeline's settings, and the offset."""
        return {**settings(self.pipeline), "offset": self.offset}


def experiment_of(module: str) -> Experiment:
    """Import an experiment.

    Args:
      module: dotted name of the module, such as experiments.classification.supervised.

    Returns:
      The module's `experiment`.
    """
    try:
        experiment = import_module(module).experiment
    except (ImportError, AttributeError) as error:
        package = module.partition(".")[0]
        where = f"; the working directory has no {package}" if f"'{package}'" in str(error) else ""
        raise ValueError(f"{module}: {error}; allowed: a module with an experiment{where}") from None
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
      experiment: experiment to be run.
      argv: flags that all trials share.
      values: {setting: value} of the trial.

    Returns:
      The run.

    Raises:
      FlagError: a value is not allowed.
    """
    return ResolvedRun(experiment, resolve(experiment, [*argv, *_words(values)]))


def _training_of(training: Run, row: dict) -> Run:
    """Return the training with a trial's values, traced or not."""
    return training.replace(flags=training.flags.replace(**row))


def can_share(run: ResolvedRun, data: Splits, names: Sequence[str]) -> bool:
    """Return whether one compiled step serves all values of some settings: `build` accepts and uses them as tracers.

    A setting that `build` does not use (epochs, valid_fraction) acts elsewhere. Trials run alone under pmap, and if the
    experiment or its flags (`--patience`, `--schedule=plateau`) give hooks, which expect one state.

    Args:
      run: the resolved run of the experiment.
      data: splits of its data.
      names: names of the settings.

    Returns:
      True if it does; False for no settings.
    """
    training = run.training_of(data)
    if not names or run.flags.spmd != "jit" or fit_arguments(run, training, data)["hooks"]:
        return False
    batch = batch_at(run.pipelines(data), 0)

    def step(row: dict) -> Any:
        learner = _training_of(training, row).build()
        return learner.update(learner.init(root_key(0), batch), batch)

    try:
        reads = first_reads(step, {name: jax.ShapeDtypeStruct((), np.float32) for name in names})
    except Exception:  # each trial reports its own bad values
        return False
    return None not in reads


def groups(trials: Sequence[dict], shared: Sequence[str]) -> list[list[int]]:
    """Group trials that differ only in some settings.

    Args:
      trials: {setting: value} each.
      shared: the settings that may differ.

    Returns:
      Indices of the trials of each group.
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
    facts: dict[str, Any] | None = None,
) -> Result:
    """Train trials in one run of `together`; the learning-rate schedule is that of the whole run for any `steps`.

    Args:
      run: the resolved run of the experiment.
      data: splits of its data.
      rows: {setting: value} of each trial, floats.
      folder: the run's folder.
      steps: length of this run; None for the whole run.
      offset: step of the whole run at which this one starts.
      start: function that changes the state before the first step; None for none.
      hooks: hooks for `fit`.
      facts: what else decides the training, such as the numbers of the hooks, {name: JSON-able value}.

    Returns:
      The result of `fit`.

    Raises:
      OtherTraining: the folder holds another one.
      ValueError: there is no trial, or a number of steps is no whole number.
    """
    if not rows:
        raise ValueError("rows=[]: no trial; allowed: at least one")
    check_whole_number("offset", offset, 0)
    if steps is not None:
        check_whole_number("steps", steps, 1)
    training = run.training_of(data)
    learner = together(
        lambda row: _training_of(training, row).build(), {name: [row[name] for row in rows] for name in rows[0]}
    )
    pipeline = run.pipelines(data)
    if start is None:
        arrays = [{name: jnp.float32(value) for name, value in row.items()} for row in rows]
        starts = [_training_of(training, row).start() for row in arrays]
        start = None if starts[0] is None else start_of_trials(starts)
    arguments = fit_arguments(run, training, data)
    evaluators = [evaluator_of_trials(one, len(rows)) for one in arguments["evaluators"]]
    changes = {"steps": steps or training.steps, "start": start, "evaluators": evaluators, "hooks": hooks}
    changes["learning_rate"] = None  # each trial has its own schedule
    part = {"offset": offset, "part_steps": steps} if steps else {}
    trial_folder = TrialFolder(folder, run, rows, {**part, **(facts or {})})
    pipeline = OffsetPipeline(pipeline, offset) if offset else pipeline
    return _fit(trial_folder, learner, pipeline, {**arguments, **changes})


def _fit(trial_folder: TrialFolder, learner: Learner, pipeline: Any, arguments: dict[str, Any]) -> Result:
    run, folder = trial_folder.run, trial_folder.claim()
    saving = Saving(run.flags.checkpoint_seconds, run.flags.checkpoint_steps, 1, grace_seconds=run.flags.grace_seconds)
    return fit(learner, pipeline, folder=folder, progress=False, saving=saving, **arguments)


def _train_alone(module: str, argv: Sequence[str], values: dict[str, Any], folder: Path) -> tuple[list[dict], str]:
    """Run one trial, possibly in a process of its own; return its history and the error by which it failed."""
    try:
        run = run_of(experiment_of(module), argv, values)
        prepare_process(run.flags)
        with fast_compilation(run.flags.smoke):
            data = load_data(run)
            training = run.training_of(data)
            learner, pipeline = training.build(), run.pipelines(data)
            return _fit(TrialFolder(folder, run), learner, pipeline, fit_arguments(run, training, data)).history, ""
    except OtherTraining:
        raise
    except FloatingPointError as error:
        say(f"{summary(values)}: {str(error).splitlines()[0]}")
        return [], ""
    except Exception as error:
        problem = _first_line(error)
        say(f"{summary(values)}: failed: {problem}")
        return [], problem


def _first_line(error: Exception) -> str:
    text = next(iter(str(error).splitlines()), "")
    return text if isinstance(error, ValueError | OSError) and text else f"{type(error).__name__}: {text}"


def summary(values: dict[str, Any]) -> str:
    """Format a trial's values in one line.

    Args:
      values: {setting: value}.

    Returns:
      Text such as "learning_rate=0.01, optimizer=sgd".
    """
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def trial_of(values: dict[str, Any], steps: Sequence[int], scores: Sequence[float], monitor_mode: str) -> Trial:
    """Score a trial by its best validation.

    Args:
      values: {setting: value}.
      steps: [N], steps of the validations.
      scores: [N]; NaN is no score.
      monitor_mode: whether the best score is "max" or "min".

    Returns:
      The trial.
    """
    check_choice("monitor_mode", monitor_mode, ("max", "min"))
    check_shapes(steps=(steps, "N"), scores=(scores, "N"))
    scores = [float(s) for s in scores]
    finite = [i for i, s in enumerate(scores) if np.isfinite(s)]
    if not finite:
        return Trial(values, float("nan"), 0, (list(steps), scores))
    best = (max if monitor_mode == "max" else min)(finite, key=lambda i: scores[i])
    return Trial(values, scores[best], int(steps[best]), (list(steps), scores))


def run_trials(
    module: str,
    argv: Sequence[str],
    trials: Sequence[dict],
    folder: Path,
    *,
    metric: str,
    monitor_mode: str = "max",
    processes: int = 1,
    share: bool = True,
    data: Splits | None = None,
) -> list[Trial]:
    """Train every trial of an experiment as its `--mode=train` does; a failure does not affect other trials.

    Args:
      module: dotted name of the experiment's module, such as experiments.classification.supervised.
      argv: flags that all trials share.
      trials: {setting: value} each.
      folder: folder of their runs.
      metric: validation metric that scores the trials.
      monitor_mode: whether the best metric is "max" or "min".
      processes: number of processes for trials that cannot share a program.
      share: whether trials may share a program.
      data: splits for `argv` alone, if they are loaded already.

    Returns:
      The trials in order.

    Raises:
      FlagError: a value is not allowed, or a folder holds another training.
      ValueError: there is no trial, two have other settings, `monitor_mode` is unknown, or `processes` is no whole
        number from 1.
    """
    check_choice("monitor_mode", monitor_mode, ("max", "min"))
    check_whole_number("processes", processes, 1)
    if not trials or any(set(values) != set(trials[0]) for values in trials):
        raise ValueError(
            f"trials={len(trials)} trials: none, or of other settings; allowed: at least one, all of the same"
        )
    experiment = experiment_of(module)
    jobs = [run_of(experiment, argv, values) for values in trials]
    numbers = [name for name in trials[0] if all(isinstance(t[name], float) for t in trials)]
    finished: dict[int, Trial] = {}
    alone_rows: list[int] = []
    parts = groups(trials, numbers)
    for row, run in enumerate(jobs):
        TrialFolder(folder / f"trial{row}", run).check()
    for number, rows in enumerate(parts):
        TrialFolder(folder / f"group{number}", jobs[rows[0]], _columns(trials, rows, numbers)).check()
    for number, rows in enumerate(parts):
        if not (share and numbers and len(rows) > 1):
            alone_rows += rows
            continue
        run = jobs[rows[0]]
        try:
            loaded = data if len(numbers) == len(trials[0]) else None
            splits = loaded or load_data(run)
            if not can_share(run, splits, numbers):
                alone_rows += rows
                continue
            say(f"{len(rows)} trials in one step, one compiled program (group {number + 1} of {len(parts)})")
            history = run_together(run, splits, _columns(trials, rows, numbers), folder / f"group{number}").history
        except OtherTraining:
            raise
        except Exception as error:
            say(f"{len(rows)} trials in one step failed, and run alone: {_first_line(error)}")
            alone_rows += rows
            continue
        valid = [row for row in history if row["split"] == "valid"]
        scores = np.array([scores_of(row, metric, len(rows)) for row in valid])
        for i, row in enumerate(rows):
            finished[row] = trial_of(trials[row], [v["step"] for v in valid], scores[:, i], monitor_mode)
    histories = _train_each_alone(module, argv, [trials[row] for row in alone_rows], alone_rows, folder, processes)
    for row, (history, error) in zip(alone_rows, histories, strict=True):
        valid = [r for r in history if r["split"] == "valid"]
        measured = [name for name in dict.fromkeys(key for r in valid for key in r) if name not in _NO_METRICS]
        if valid and metric not in measured:
            error = f"metric={metric!r}: no validation metric; allowed: {', '.join(measured)}"
        scores = [np.nan if metric not in measured or r.get(metric) is None else r[metric] for r in valid]
        trial = trial_of(trials[row], [r["step"] for r in valid], scores, monitor_mode)
        finished[row] = trial._replace(error=error)
    return [finished[row] for row in range(len(trials))]


def _columns(trials: Sequence[dict], rows: Sequence[int], names: Sequence[str]) -> list[dict]:
    return [{name: trials[row][name] for name in names} for row in rows]


def _train_each_alone(
    module: str, argv: Sequence[str], trials: Sequence[dict], rows: Sequence[int], folder: Path, processes: int
) -> list[tuple[list[dict], str]]:
    """Run trials that share no program; return (history, error) of each."""
    one = functools.partial(_history_of, module, list(argv), folder)
    if processes == 1 or len(trials) < 2:
        return [one(values, row) for values, row in zip(trials, rows, strict=True)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(one, values, row) for values, row in zip(trials, rows, strict=True)]
        histories = []
        for future in futures:
            try:
                histories.append(future.result())
            except BrokenExecutor:
                histories.append(([], "its process was killed; the same command tries again"))
    return histories


def _history_of(module: str, argv: list[str], folder: Path, values: dict[str, Any], row: int) -> tuple[list[dict], str]:
    say(f"trial {row}: {summary(values)}")
    return _train_alone(module, argv, values, folder / f"trial{row}")


def retrain(module: str, argv: Sequence[str], best: Trial, folder: Path) -> dict[str, float | None]:
    """Train with the best values and number of steps on training and validation data, and test once.

    Args:
      module: dotted name of the experiment's module.
      argv: flags that all trials share.
      best: the best trial.
      folder: parent folder of the run `retrained`.

    Returns:
      Test metrics, including those of the experiment's evaluators, {name: value}.

    Raises:
      OtherTraining: a folder holds another training.
    """
    return _tested(*_retrained(module, argv, best, folder / "retrained"))


def measure_ensemble(
    module: str, argv: Sequence[str], best: Sequence[Trial], folder: Path
) -> list[dict[str, float | None]]:
    """Train the best trials as `retrain` does, and test the mean of their probabilities, and the best one alone.

    Args:
      module: dotted name of the experiment's module.
      argv: flags that all trials share.
      best: trials, the best first.
      folder: parent folder of the runs `member0`, `member1` ...

    Returns:
      [test metrics of the ensemble, test metrics of the best], each {name: value}.

    Raises:
      OtherTraining: a folder holds another training.
    """
    members = [_retrained(module, argv, trial, folder / f"member{i}") for i, trial in enumerate(best)]
    run, training, data, *_ = members[0]
    learners, states = zip(*((learner, state) for *_, learner, state in members), strict=True)
    # Both are ensembles, so that their losses are the same function of probabilities.
    return [_tested(run, training, data, ensemble(learners[:k], data.test[:1]), states[:k]) for k in (len(members), 1)]


def _retrained(
    module: str, argv: Sequence[str], trial: Trial, folder: Path
) -> tuple[ResolvedRun, Run, Splits, Learner, Any]:
    """Train a trial on training and validation data; return (run, training, data, learner, state)."""
    run = run_of(experiment_of(module), argv, trial.values)
    data = load_data(run)
    training, joined = run.training_of(data), data._replace(train=join(data.train, data.valid), valid=None)
    learner = training.build()
    arguments = {**fit_arguments(run, training, joined), "steps": trial.step}
    trial_folder = TrialFolder(folder, run, facts={"best_step": trial.step})
    return run, training, joined, learner, _fit(trial_folder, learner, run.pipelines(joined), arguments).state


def _tested(run: ResolvedRun, training: Run, data: Splits, learner: Learner, state: Any) -> dict[str, float | None]:
    """Compute the test metrics, including those of the experiment's evaluators."""
    measures = evaluate(
        learner,
        state,
        data.test,
        batch_size=run.flags.eval_batch_size,
        placement=run.placement(),
        evaluators=training.evaluators(data, "test"),
    )
    return scalars(measures)
