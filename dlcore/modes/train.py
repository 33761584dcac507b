"""`--mode=train`: train an experiment, or resume it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.activity import activity
from dlcore.data.fingerprint import Fingerprint
from dlcore.data.input_pipeline import check_input_pipeline
from dlcore.data.pipeline import batch_at
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.mode import Mode
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, check_identity, config_of
from dlcore.experiment.run_data import check_resumed, known_data, write_data
from dlcore.learner import Learner
from dlcore.modes.finish import REPORT, RESULT, finish
from dlcore.modes.watch import watch_hooks
from dlcore.optim.plateau import has_plateau_scale
from dlcore.run import provenance
from dlcore.run.attempts import wall_seconds
from dlcore.run.checkpoint import check_writable, remove_empty
from dlcore.run.evaluate import Evaluation
from dlcore.run.fit import Saving, fit
from dlcore.run.hooks import EarlyStopping, ReduceOnPlateau
from dlcore.run.inputs import check_labels
from dlcore.run.json_files import read_json, write_json
from dlcore.run.lock import lock_folder
from dlcore.run.pmap import program_for
from dlcore.run.processes import barrier, is_first
from dlcore.run.progress import say
from dlcore.setting import FlagError
from dlcore.weights.check import inherited_keys, load_data, origins_of
from dlcore.weights.start import Start

__all__ = ["MODE", "Prepared", "fit_arguments", "prepare", "train", "train_page"]

SOURCES = "sources.json"
MAX_NAMED_FILES = 5
"""Largest number of changed files that a warning names."""


def fit_arguments(run: ResolvedRun, training: Run, data: Splits) -> dict[str, Any]:
    """Collect the arguments of `fit` for training and evaluation, which a search shares.

    Args:
      training: facts that its learner is built from.
      data: splits of its data.

    Returns:
      {argument: value}.
    """
    flags = run.flags
    return {
        "steps": training.steps,
        "seed": flags.seed,
        "valid": data.valid,
        "evaluators": [] if data.valid is None else training.evaluators(data, "valid"),
        "eval_batch_size": flags.eval_batch_size,
        "start": training.start(),
        "hooks": [*training.hooks(), *_early_stopping(run, training, data), *_plateau(run, training, data)],
        "placement": run.placement(),
        "log_every": flags.log_every,
        "learning_rate": training.rate_of_step(),
        "eval_every": run.eval_every(training),
    }


def _early_stopping(run: ResolvedRun, training: Run, data: Splits) -> list[EarlyStopping]:
    """Build the hook of `--patience`."""
    patience, monitor = run.flags.patience, run.experiment.parts.monitor
    if not patience:
        return []
    if data.valid is None or "headline" in training.spec:
        raise FlagError(f"--patience={patience}: no validation to compare; allowed: 0, or data with a validation split")
    return [EarlyStopping(f"valid/{monitor}", patience, run.experiment.parts.mode)]


def _plateau(run: ResolvedRun, training: Run, data: Splits) -> list[ReduceOnPlateau]:
    """Build the hook of `--schedule=plateau`."""
    flags, experiment = run.flags, run.experiment
    if flags.get("schedule") != "plateau" or flags.get("milestones") is not None:
        return []
    if data.valid is None or experiment.parts.monitor is None or "headline" in training.spec:
        raise FlagError(
            "--schedule=plateau: no validation to compare; allowed: the others, or data with a validation split"
        )
    if flags.decay_factor == 1:
        raise FlagError("--decay_factor=1.0: never lowers the rate; allowed: below 1 under --schedule=plateau")
    monitor = f"valid/{experiment.parts.monitor}"
    return [ReduceOnPlateau(monitor, flags.plateau_patience, experiment.parts.mode, flags.decay_factor)]


def train(run: ResolvedRun) -> int:
    """Train or resume, and report; print a message if the run is finished already.

    Returns:
      The exit status, 0.
    """
    anew = run.flags.fresh and _is_of_another_command(run)
    if not anew and _is_finished(run):
        return 0
    run.placement()  # a bad --mesh is an error before any work
    check_input_pipeline(run.flags.input_pipeline)
    new_folders = check_writable(run.folder)
    try:
        prepared = prepare(run) if anew or not _is_resumed(run) else None
    except BaseException:
        if is_first():
            remove_empty(new_folders)
        raise
    if anew:
        _set_aside(run.folder)
    with lock_folder(run.folder, ".run.lock"):
        if not _is_finished(run):  # by another process, while this one waited
            _train(run, prepared)
    return 0


def train_page(page: Experiment, words: Sequence[str], purpose: str) -> Path:
    """Find the finished run of another experiment, or train it as its command would.

    Args:
      page: the other experiment.
      words: arguments of its command line.
      purpose: purpose of the run, printed before it starts.
    """
    run = ResolvedRun(page, resolve(page, list(words)))
    if not (run.folder / RESULT).exists():
        say(f"{purpose}: {run.folder}")
        modules = (name for name, module in list(sys.modules.items()) if getattr(module, "__file__", None) == page.file)
        with provenance.inner_command(next((name for name in modules if name != "__main__"), page.name), words):
            train(run)
    return run.folder


def _is_of_another_command(run: ResolvedRun) -> bool:
    """Return whether the folder holds a run for `--fresh` to set aside: not its own, which a signal stopped."""
    if (run.folder / RESULT).exists():
        return True
    config = run.config()
    same = config and config["settings"].get("fresh") and config.get("command") == provenance.command()
    return config is not None and not same


def _is_finished(run: ResolvedRun) -> bool:
    """Return whether the run is finished, and print a message if so; the folder must have the same settings."""
    config = run.config()
    if config is None:
        return False
    check_identity(run, config)
    if finished := (run.folder / RESULT).exists():
        read_json(run.folder / RESULT, ["experiment"])
        _check_finished(run, config)
        say(f"finished before: {run.folder / REPORT}  (--fresh trains again)")
    return finished


class Prepared(NamedTuple):
    """Data and learner of a new run, checked before its folder is created.

    Args:
      data: the splits.
      known: keys of the training examples of its initial weights, for `write_data`.
      learner: the traced learner, whose functions training does not trace again. None if nothing was traced.
      notes: messages of the experiment before training; None if they were not computed.
      start: start of its state, which has read the weights that it was checked with; None if nothing was checked.
    """

    data: Splits
    known: dict[str, Fingerprint]
    learner: Learner | None = None
    notes: Sequence[str] | None = None
    start: Any = None


def prepare(run: ResolvedRun) -> Prepared:
    """Load the data of a new run, and check everything that can be checked before compiling and writing.

    `init`, `update`, and `evaluate` on the validation and the test split are traced: a malformed split is an error
    here, not after the training.

    Returns:
      The data, and the training examples of the initial weights.

    Raises:
      FlagError: settings do not fit each other or the data, or the initial weights were trained on test examples.
      ValueError: weights or data cannot be used.
    """
    origins = origins_of(run)
    data = load_data(run, origins=origins)
    pipelines, training, placement = run.pipelines(data), run.training_of(data), run.placement()
    batch = batch_at(pipelines, 0)
    with activity("tracing the programs"):
        learner = run.build(training, batch)
        messages = training.messages(data)
        program = program_for(learner, batch, placement, run.flags.seed)  # traces init and update
        if _plateau(run, training, data) and not has_plateau_scale(program.abstract_state.opt_state):
            raise FlagError(
                f"--schedule=plateau: {run.experiment.name} has an optimizer of its own; allowed: the others"
            )
        start = training.start()
        if isinstance(start, Start):
            start.check(program.abstract_state)
        check_labels(learner, program.abstract_state, batch, pipelines, data.valid)
        evaluation = Evaluation(learner, placement)
        for name, split in (("valid", data.valid), ("test", data.test)):
            if split is not None:
                evaluation.check(program.abstract_state, split, run.flags.eval_batch_size, name)
    return Prepared(data, inherited_keys(origins), learner, messages, start)


def _is_resumed(run: ResolvedRun) -> bool:
    return run.config() is not None and any((run.folder / "checkpoints").glob("*"))


def _resumed(run: ResolvedRun) -> Prepared:
    """Load the data of a resumed run, normalized as at its beginning; its initial weights are not needed."""
    config, data = config_of(run), run.load()
    spec = data.spec | {name: config["spec"][name] for name in ("mean", "std") if name in config["spec"]}
    lines = check_resumed(run, config, data)
    return Prepared(data._replace(spec=spec, notes=(*data.notes, *lines)), known_data(run.folder, config))


def _train(run: ResolvedRun, prepared: Prepared | None) -> None:
    flags, folder = run.flags, run.folder
    prepared = _resumed(run) if prepared is None or _is_resumed(run) else prepared
    data, inherited = prepared.data, prepared.known
    for message in data.notes:
        say(f"note: {message}")
    pipelines = run.pipelines(data)
    batch = batch_at(pipelines, 0)
    training = run.training_of(data)
    spec = training.spec
    if "batch_size" in spec:
        say(f"note: batches of {spec['batch_size']}, since there are fewer than {flags.batch_size} training examples")
    steps, accumulate = training.steps, flags.get("accumulate", 1)
    if rest := steps % accumulate:
        say(f"note: the last {rest} of {steps} steps make no update, which takes --accumulate={accumulate} steps")
    learner = prepared.learner or training.build()
    messages = training.messages(data) if prepared.notes is None else prepared.notes
    if is_first():
        _note_changed_code(folder)
        run.write_config(spec, write_data(folder, data, inherited))
        say(f"{run.experiment.name}: {training.steps} steps on {provenance.hardware()}, run folder {folder}")
        for message in messages:
            say(f"note: {message}")
    arguments = fit_arguments(run, training, data)
    report_hooks = training.report_hooks()
    hooks = [*arguments["hooks"], *report_hooks, *watch_hooks(run, training, batch)]
    if is_first():
        wall_seconds(folder, done=False)
    try:
        result = fit(
            learner,
            pipelines,
            folder=folder,
            progress=flags.progress,
            changed_data=flags.changed_data,
            tracking=run.tracking,
            input_pipeline=flags.input_pipeline,
            saving=Saving(
                flags.checkpoint_seconds,
                flags.checkpoint_steps,
                flags.keep_last,
                monitor=None if data.valid is None or "headline" in spec else run.experiment.parts.monitor,
                mode=run.experiment.parts.mode,
                grace_seconds=flags.grace_seconds,
            ),
            **{**arguments, "hooks": hooks, "start": prepared.start or arguments["start"]},
        )
    finally:
        if is_first():
            wall_seconds(folder)
    finish(run, data, training, learner, result, hooks, batch)


def _note_changed_code(folder: Path) -> None:
    """Record the digests of the code, and warn about files that changed since the resumed run began."""
    path, digests = folder / SOURCES, provenance.sources()
    old_digests = read_json(path) if path.exists() else {}
    if changed := sorted(name for name in old_digests.keys() & digests.keys() if old_digests[name] != digests[name]):
        suffix = f" and {len(changed) - MAX_NAMED_FILES} more" if len(changed) > MAX_NAMED_FILES else ""
        say(f"warning: the code changed since this run began: {', '.join(changed[:MAX_NAMED_FILES])}{suffix}")
    write_json(path, {**digests, **old_digests})


def _check_finished(run: ResolvedRun, config: dict) -> None:
    """Report changes of a finished run's data; none if the data can no longer be read."""
    try:
        data = run.load()
    except (OSError, ValueError):
        return
    try:
        lines = check_resumed(run, config, data)
    except FlagError as error:
        raise FlagError(f"{error}; --fresh trains again") from None
    for line in lines:
        say(f"note: {line}")


def _set_aside(folder: Path) -> None:
    barrier("an earlier run")  # all processes have seen it
    with lock_folder(folder, ".run.lock"):  # no other process trains there
        if is_first():
            number = 1
            while (new_name := folder.with_name(f"{folder.name}.old{number}")).exists():
                number += 1
            folder.rename(new_name)
            say(f"the earlier run is now {new_name}")
            folder.mkdir()
    barrier("set aside")


MODE = Mode(train)
