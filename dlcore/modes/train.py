"""`--mode=train`: train an experiment, or resume it."""

from pathlib import Path
from typing import Any

from dlcore.data.pipeline import batch_at
from dlcore.experiment.experiment import Setup
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, check_identity
from dlcore.experiment.splits import Splits
from dlcore.modes.finish import REPORT, RESULT, finish
from dlcore.modes.watch import watch_hooks
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable
from dlcore.run.fit import Saving, fit
from dlcore.run.processes import barrier, is_first
from dlcore.run.progress import say

__all__ = ["MODE", "fit_arguments", "train"]


def fit_arguments(run: ResolvedRun, setup: Setup, data: Splits) -> dict[str, Any]:
    """Collect the arguments of `fit` that decide what is learned and measured; a search trains with the same.

    Args:
      run: of the experiment.
      setup: what its learner is built from.
      data: its splits.

    Returns:
      {argument: value}.
    """
    flags, experiment = run.flags, run.experiment
    return {
        "steps": setup.steps,
        "seed": flags.seed,
        "valid": data.valid,
        "evaluators": [] if data.valid is None else experiment.evaluators(setup, data, "valid"),
        "eval_batch_size": flags.eval_batch_size,
        "start": experiment.start(setup),
        "hooks": experiment.hooks(setup),
        "placement": run.placement(),
        "log_every": flags.log_every,
        "eval_every": run.eval_every(data.train_size),
    }


def train(run: ResolvedRun) -> int:
    """Train, or resume, and report; say so where the run is finished already.

    Args:
      run: of the experiment.

    Returns:
      The exit status, 0.
    """
    flags, folder = run.flags, run.folder
    config = run.config()
    if flags.fresh and config is not None and (folder / RESULT).exists():
        _set_aside(folder)
        config = None
    if config is not None:
        check_identity(run, config)
        if (folder / RESULT).exists():
            say(f"finished before: {folder / REPORT}  (--fresh trains again)")
            return 0
    run.placement()  # a bad --mesh is an error before any work
    check_writable(folder)
    data = run.experiment.data(flags)
    for note in data.notes:
        say(f"note: {note}")
    setup = run.setup_of(data)
    spec = setup.spec
    learner = run.experiment.build(setup)
    pipelines = run.pipelines(data.train)
    if is_first():
        run.write_config(spec)
        say(f"{run.experiment.name}: {setup.steps} steps on {provenance.hardware()}, run folder {folder}")
    batch = batch_at(pipelines, 0)
    arguments = fit_arguments(run, setup, data)
    hooks = [*arguments["hooks"], *watch_hooks(run, setup, batch)]
    result = fit(
        learner,
        pipelines,
        folder=folder,
        progress=flags.progress,
        saving=Saving(
            flags.checkpoint_seconds,
            flags.checkpoint_steps,
            flags.keep_last,
            monitor=run.experiment.monitor if data.valid is not None else None,
            mode=run.experiment.monitor_mode,
        ),
        **{**arguments, "hooks": hooks},
    )
    finish(run, data, setup, learner, result, hooks, batch)
    return 0


def _set_aside(folder: Path) -> None:
    barrier("an earlier run")  # all have seen that it had finished
    if is_first():
        number = 1
        while (old := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        folder.rename(old)
        say(f"the earlier run is now {old}")
    barrier("set aside")


MODE = Mode(train)
