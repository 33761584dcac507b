"""`--mode=train`: train an experiment, or resume it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcore.data.pipeline import batch_at
from dlcore.experiment.catalog import find_experiment
from dlcore.experiment.experiment import Setup
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, check_identity
from dlcore.experiment.run_data import check_resumed, known_data, write_data
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.modes.finish import REPORT, RESULT, finish
from dlcore.modes.watch import watch_hooks
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable
from dlcore.run.fit import Saving, fit
from dlcore.run.json_files import read_json, write_json
from dlcore.run.lock import locked
from dlcore.run.processes import barrier, is_first
from dlcore.run.progress import say

__all__ = ["MODE", "fit_arguments", "train", "train_page"]

SOURCES = "sources.json"
SHOWN = 5
"""Changed files that are named."""


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
        "learning_rate": run.experiment.schedule(setup),
        "eval_every": run.eval_every(setup),
    }


def train(run: ResolvedRun) -> int:
    """Train, or resume, and report; say so where the run is finished already.

    Args:
      run: of the experiment.

    Returns:
      The exit status, 0.
    """
    if run.flags.fresh and (run.folder / RESULT).exists():
        _set_aside(run.folder)
    if _is_finished(run):
        return 0
    run.placement()  # a bad --mesh is an error before any work
    check_writable(run.folder)
    with locked(run.folder, ".run.lock"):
        if not _is_finished(run):  # by another process, while this one waited
            _train(run)
    return 0


def train_page(name: str, words: Sequence[str], purpose: str) -> Path:
    """Find the finished run of another page, or train it, as a command of its own would.

    Args:
      name: of the page, such as generative.autoencoder_kl.
      words: of its command line.
      purpose: what the run is for, printed before it.

    Returns:
      The run's folder.
    """
    experiment = find_experiment(name)
    run = ResolvedRun(experiment, resolve(experiment, list(words)))
    if not (run.folder / RESULT).exists():
        say(f"{purpose}: {run.folder}")
        with provenance.inner_command(f"experiments.{name}", words):
            train(run)
    return run.folder


def _is_finished(run: ResolvedRun) -> bool:
    """Whether there is nothing to do, and say so; the folder must be of the same settings."""
    config = run.config()
    if config is None:
        return False
    check_identity(run, config)
    if finished := (run.folder / RESULT).exists():
        _check_finished(run, config)
        say(f"finished before: {run.folder / REPORT}  (--fresh trains again)")
    return finished


def _train(run: ResolvedRun) -> None:
    flags, folder = run.flags, run.folder
    data = run.experiment.data(flags)
    for note in data.notes:
        say(f"note: {note}")
    config, known = run.config(), {}
    if config is not None and any((folder / "checkpoints").glob("*")):
        known = known_data(folder, config)
        for line in check_resumed(run, config, data):
            say(f"note: {line}")
    pipelines = run.pipelines(data)
    batch = batch_at(pipelines, 0)
    run.check_network(data, batch)
    setup = run.setup_of(data)
    spec = setup.spec
    if "batch_size" in spec:
        say(f"note: batches of {spec['batch_size']}, for there are fewer than {flags.batch_size} training examples")
    if rest := setup.steps % (accumulate := flags.get("accumulate", 1)):
        say(f"note: the last {rest} of {setup.steps} steps make no update, which takes --accumulate={accumulate} steps")
    learner = run.experiment.build(setup)
    if is_first():
        _note_changed_code(folder)
        run.write_config(spec, write_data(folder, data, known))
        say(f"{run.experiment.name}: {setup.steps} steps on {provenance.hardware()}, run folder {folder}")
        for note in run.experiment.notes(setup, data):
            say(f"note: {note}")
    arguments = fit_arguments(run, setup, data)
    hooks = [*arguments["hooks"], *run.experiment.report_hooks(setup), *watch_hooks(run, setup, batch)]
    result = fit(
        learner,
        pipelines,
        folder=folder,
        progress=flags.progress,
        changed_data=flags.changed_data,
        saving=Saving(
            flags.checkpoint_seconds,
            flags.checkpoint_steps,
            flags.keep_last,
            monitor=None if data.valid is None or "headline" in spec else run.experiment.monitor,
            mode=run.experiment.monitor_mode,
        ),
        **{**arguments, "hooks": hooks},
    )
    finish(run, data, setup, learner, result, hooks, batch)


def _note_changed_code(folder: Path) -> None:
    """Record the digests of the code, and say which files changed since the run that is resumed began."""
    path, now = folder / SOURCES, provenance.sources()
    before = read_json(path) if path.exists() else {}
    if changed := sorted(name for name in before.keys() & now.keys() if before[name] != now[name]):
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        say(f"warning: the code changed since this run began: {', '.join(changed[:SHOWN])}{more}")
    write_json(path, {**now, **before})


def _check_finished(run: ResolvedRun, config: dict) -> None:
    """Say where the data of a finished run has changed; where it cannot be read any more, nothing is known."""
    try:
        data = run.experiment.data(run.flags)
    except (OSError, ValueError):
        return
    try:
        lines = check_resumed(run, config, data)
    except FlagError as error:
        raise FlagError(f"{error}; --fresh trains again") from None
    for line in lines:
        say(f"note: {line}")


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
