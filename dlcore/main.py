"""Run an experiment in any mode, or a study: the one file that knows all modes.

from dlcore.main import main
if __name__ == "__main__":
    main(experiment)
"""

import re
import sys
import traceback
from importlib import import_module
from typing import Literal

from dlcore.activity import activity, heartbeat
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolve import last_value, resolve, split_runs, wants_smoke
from dlcore.experiment.resolved_run import ResolvedRun, fast_compilation, prepare_process
from dlcore.experiment.study import Study, run_study
from dlcore.extras import MissingPackage, require
from dlcore.run.endings import note_repeats, orderly_ending
from dlcore.run.preemption import Preempted
from dlcore.run.processes import is_first, join_processes, leave
from dlcore.run.program_cache import use_program_cache
from dlcore.run.xla_flags import use_fast_cpu_convolutions
from dlcore.setting import FlagError, Setting

__all__ = ["MODES", "main", "mode_of", "run"]

MODES = {
    "train": "dlcore.modes.train",
    "evaluate": "dlcore.modes.evaluate",
    "predict": "dlcore.modes.predict",
    "sanity": "dlcore.modes.sanity",
    "gradcheck": "dlcore.modes.gradcheck",
    "profile": "dlcore.modes.profile",
    "export": "dlcore.modes.export",
    "plan": "dlcore.modes.plan",
}
"""What an experiment can do; a new mode is a module with a `MODE` and a line here."""

VERBS = {"sanity": "check", "gradcheck": "check gradients"}
"""Verbs of the modes whose names are none."""

EXPECTED = (ValueError, OSError, FloatingPointError, MissingPackage)
"""Errors whose message says it all."""


def main(experiment: Experiment | Study, argv: list[str] | None = None) -> None:
    """Run an experiment or a study and leave with its exit status.

    Args:
      experiment: what to run.
      argv: the command line; that of the process by default. The last value of a flag counts.

    Raises:
      SystemExit: with 1 (an error, a failed check), 2 (bad flags), 75 (run me again) or 130 (Ctrl-C).
    """
    if argv is None:
        argv = sys.argv[1:]
        note_repeats(argv)
    use_fast_cpu_convolutions()
    use_program_cache()
    with orderly_ending(), fast_compilation(wants_smoke(argv)):
        status = run_study(experiment, argv) if isinstance(experiment, Study) else run(experiment, argv)
    if status:
        raise SystemExit(status)


def run(experiment: Experiment, argv: list[str]) -> int:
    """Run an experiment.

    Args:
      experiment: what to run.
      argv: the command line.

    Returns:
      0, 1 (an error, a failed check) or 2 (bad flags).

    Raises:
      Preempted: SIGTERM came, and everything is saved; its status is 75.
    """
    show = "--traceback" in argv
    shows = "--noprogress" not in argv and (last_value(argv, "progress") or "true").lower() not in ("false", "0", "no")
    try:
        with heartbeat(lambda: shows), activity("importing, and reading the flags"):
            mode, settings = mode_of(argv)
            argv = split_runs(argv, settings)
            flags = resolve(experiment, argv, settings)
    except FlagError as error:
        print(f"error: {error}{_other_mode(argv, error)}", file=sys.stderr)
        return 2
    try:
        require(*mode.packages, what=f"--mode={flags.mode}")
        prepare_process(flags)
        with join_processes(flags.distributed, flags.heartbeat_seconds, flags.join_seconds):
            try:
                with (
                    heartbeat(lambda: flags.progress and is_first()),
                    activity(f"preparing to {VERBS.get(flags.mode, flags.mode)}"),
                ):
                    status = mode.run(ResolvedRun(experiment, flags)) or 0
            except BrokenPipeError:
                raise
            except EXPECTED as error:
                status = _report(error, show, flags)
            if status:
                leave(status)
        return status
    except Preempted as stop:
        print(stop, flush=True)
        raise
    except BrokenPipeError:
        raise
    except EXPECTED as error:
        return _report(error, show, flags)


def mode_of(argv: list[str]) -> tuple[Mode, dict[str, Setting]]:
    """Find the mode that a command line asks for.

    Args:
      argv: the command line.

    Returns:
      (mode, its flags and `--mode`); under `--help=all` the flags of every mode.
    """
    name = last_value(argv, "mode") or "train"
    settings = {
        "mode": Setting(
            "train", "mode: train, or use a trained run", Literal[tuple(MODES)], identity=False, essential=True
        )
    }
    chosen = name if name in MODES else "train"
    if "--help=all" in argv:
        for other in MODES:
            settings |= import_module(MODES[other]).MODE.settings
    mode = import_module(MODES[chosen]).MODE
    return mode, settings | mode.settings


def _other_mode(argv: list[str], error: FlagError) -> str:
    """Return a hint where an unknown flag is another mode's."""
    words = {word[2:].split("=")[0] for word in argv if word.startswith("--")}
    for name in MODES:
        for word in sorted(words & set(import_module(MODES[name]).MODE.settings)):
            if f"--{word}: unknown" in str(error):
                return f"; --{word} belongs to --mode={name}"
    return ""


def _report(error: Exception, show: bool, flags: Flags) -> int:
    """Print an error; its exit status."""
    if show:
        traceback.print_exc()
    message = _in_flags(str(error), flags)
    print(f"error: {message}" + ("" if show else "  (--traceback shows where)"), file=sys.stderr)
    return 2 if isinstance(error, FlagError) or message != str(error) else 1


def _in_flags(message: str, flags: Flags) -> str:
    """Return a message about a function's argument as one about the flag that the argument's value came from."""
    found = re.match(r"(\w+)=(['\"]?)(.*?)\2: ", message)
    if not found:
        return message
    names = [found[1]] if found[1] in flags else sorted(name for name in flags.given if isinstance(flags[name], str))
    name = next((name for name in names if str(flags[name]) == found[3]), None)
    return message if name is None else f"--{name}={found[3]}: {message[found.end() :]}"
