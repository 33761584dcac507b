"""Run one trial of a sweep: the job that submitit calls, stops and calls again, and its process that trains.

    python -m launch.slurm.trial FOLDER     reads FOLDER/trial.json, writes FOLDER/score.json

Training runs in a process of its own, which stops as everywhere (SIGTERM, saved, status 75), while submitit uses its
own signal (SIGUSR2): `checkpoint`, which it calls in the handler, passes SIGTERM on and waits for the save. A SIGTERM
without SIGUSR2 is passed on too; then Slurm has `PATIENCE` seconds to end or restart the job, before the job asks to be
requeued.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launch.local import describe

__all__ = ["SCORE", "TRIAL", "TrialJob", "main"]

TRIAL, SCORE = "trial.json", "score.json"
STOPPED = (75, 143, -signal.SIGTERM)
PATIENCE = 120.0


class TrialJob:
    """A trial as a callable for submitit, called from the checkout; its value is the content of score.json.

    Args:
      folder: holds trial.json, seen by all nodes.
      program: the arguments of python to train.
    """

    def __init__(self, folder: Path, program: Sequence[str] = ("-m", "launch.slurm.trial")):
        self.folder, self.program = Path(folder).absolute(), tuple(program)
        self.process: subprocess.Popen | None = None

    def __call__(self) -> dict:
        """Train, or resume training.

        Returns:
          The content of score.json.

        Raises:
          RuntimeError: the trial failed by an error of its own, which its log shows.
        """
        signal.signal(signal.SIGTERM, self._pass_on)
        command = [sys.executable, *self.program, str(self.folder)]
        self.process = subprocess.Popen(command, preexec_fn=_ignore_usr2)
        status = self.process.wait()
        if status in STOPPED:
            time.sleep(PATIENCE)
            os.kill(os.getpid(), _submitit_signal())
            time.sleep(60)  # the handler requeues and leaves
        if status:
            raise RuntimeError(f"the trial in {self.folder} {describe(status)}")
        return json.loads((self.folder / SCORE).read_text())

    def checkpoint(self) -> object:
        """Wait until the process has saved.

        Returns:
          This trial, for submitit to submit again.
        """
        from submitit.helpers import DelayedSubmission

        self._pass_on()
        if self.process is not None:
            with contextlib.suppress(ChildProcessError):  # it may have been waited for
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(TrialJob(self.folder, self.program))

    def _pass_on(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "process": None}


def _ignore_usr2() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _submitit_signal() -> int:
    from submitit.core.job_environment import JobEnvironment

    return JobEnvironment._usr_sig()


def main(argv: Sequence[str] | None = None) -> int:
    """Train the trial of a folder.

    Args:
      argv: [folder]; the command line of the process by default.

    Returns:
      0, or 1 (an error); a preemption raises, and exits with 75.
    """
    from dlcore.run.preemption import Preempted
    from dlcore.search.trials import run_trials

    (folder,) = map(Path, sys.argv[1:] if argv is None else argv)
    told = json.loads((folder / TRIAL).read_text())
    try:
        (trial,) = run_trials(
            told["experiment"],
            told["flags"],
            [told["values"]],
            folder,
            metric=told["metric"],
            monitor_mode=told["mode"],
            share=False,
        )
    except Preempted as stop:
        print(stop, flush=True)
        raise
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    score = trial.score if math.isfinite(trial.score) else None
    temporary = folder / f"{SCORE}.tmp"
    temporary.write_text(json.dumps({"score": score, "step": trial.step, "curve": trial.curve}))
    os.replace(temporary, folder / SCORE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
