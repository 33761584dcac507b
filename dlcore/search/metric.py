"""The validation metric that ranks trials: whether it exists, and whether larger or smaller values are better."""

from typing import Literal, NamedTuple

import numpy as np

from dlcore.data.pipeline import batch_at
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Sum
from dlcore.modes.train import fit_arguments
from dlcore.report.measures import better_direction
from dlcore.run.evaluate import Evaluation, compute_metrics, pad_local_batches, scalars
from dlcore.run.pmap import program_for
from dlcore.setting import FlagError

__all__ = ["check_metric", "monitor_mode_of"]


def monitor_mode_of(metric: str, experiment: Experiment, better: Literal["max", "min"] | None = None) -> str:
    """Decide whether larger or smaller values of a metric are better.

    Args:
      metric: name of the metric, such as "accuracy", "policy_loss", "map50/cat" or "calibration/ece".
      experiment: the experiment; states whether its monitor is to rise or fall.
      better: direction from the command line; overrides the experiment's.

    Returns:
      "max" or "min".

    Raises:
      FlagError: the direction is unknown.
    """
    if better is not None:
        return better
    if metric == experiment.parts.monitor:
        return experiment.parts.mode
    if direction := better_direction(metric):
        return "max" if direction == "higher" else "min"
    raise FlagError(f"--metric={metric}: unknown direction; allowed: with --better=max or --better=min")


class _ValidationNames(NamedTuple):
    """Names of all metrics of a validation, and of those that `together` also measures for each trial."""

    all: tuple[str, ...]
    of_trials: frozenset[str]


def _validation_names(run: ResolvedRun, data: Splits) -> _ValidationNames:
    """Evaluate one validation batch before training, and list the names of the metrics, those of evaluators too."""
    training, placement = run.training_of(data), run.placement()
    learner, arguments = training.build(), fit_arguments(run, training, data)
    batch = batch_at(run.pipelines(data), 0)
    state = program_for(learner, batch, placement, run.flags.seed).init(batch, arguments["start"]).state
    first = next(iter(pad_local_batches(data.valid, min(8, run.flags.eval_batch_size), placement)))
    metrics = Evaluation(learner, placement).metrics(state, [first])
    of_evaluators = [name for evaluator in arguments["evaluators"] for name in evaluator.names]
    sums = {name for name, metric in metrics.items() if isinstance(metric, Sum) and np.ndim(metric.total) == 0}
    return _ValidationNames((*scalars(compute_metrics(metrics)), *of_evaluators), sums | {*of_evaluators})


def check_metric(run: ResolvedRun, data: Splits, metric: str) -> bool:
    """Check before training that a run starts and that its validation measures a metric.

    Args:
      run: the resolved run of the experiment.
      data: splits of its data.
      metric: name of the metric.

    Returns:
      Whether trials that share a compiled step also measure it.

    Raises:
      FlagError: there is no validation split, or it has no such metric.
    """
    if data.valid is None:
        raise FlagError(f"{run.experiment.name}: has no validation split; allowed: an experiment with one")
    names = _validation_names(run, data)
    if metric not in names.all:
        allowed = ", ".join(names.all)
        raise FlagError(f"--metric={metric}: not a validation metric of {run.experiment.name}; allowed: {allowed}")
    return metric in names.of_trials
