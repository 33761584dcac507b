"""`--mode=train`: train an experiment, or resume it."""

from pathlib import Path

from dlcore.data.pipeline import batch_at
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, check_identity
from dlcore.modes.finish import REPORT, RESULT, finish
from dlcore.modes.watch import watch_hooks
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable
from dlcore.run.fit import Saving, fit
from dlcore.run.processes import barrier, is_first
from dlcore.run.progress import say

__all__ = ["MODE", "train"]


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
    placement = run.placement()
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
    hooks = [*run.experiment.hooks(setup), *watch_hooks(run, setup, batch)]
    result = fit(
        learner,
        pipelines,
        steps=setup.steps,
        seed=flags.seed,
        folder=folder,
        valid=data.valid,
        evaluators=run.experiment.evaluators(setup, data, "valid"),
        eval_batch_size=flags.eval_batch_size,
        start=run.experiment.start(setup),
        hooks=hooks,
        placement=placement,
        log_every=flags.log_every,
        learning_rate=run.experiment.schedule(setup),
        eval_every=run.eval_every(data.train_size),
        progress=flags.progress,
        saving=Saving(
            flags.checkpoint_seconds,
            flags.checkpoint_steps,
            flags.keep_last,
            monitor=run.experiment.monitor if data.valid is not None else None,
            mode=run.experiment.monitor_mode,
        ),
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
