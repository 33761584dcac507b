"""Break a run of two processes in every way, resume it, and compare what it leaves with an undisturbed run.

python -m experiments.bench.process_faults
python -m experiments.bench.process_faults --faults=kill,coordinator

A perceptron trains on digits in two processes of two devices each, started by `launch.local`, and saves every ten
steps. "Equal" means that every logged number and every array of the last checkpoint is byte for byte that of an
undisturbed run; "apart" is the largest difference of an array. Seconds count from the fault to the end of the last
process. A full disk is a small tmpfs, for which the command must be root.

    kill           SIGKILL of process 1: the other aborts, and the launcher names the lost one and restarts both
    coordinator    SIGKILL of process 0, which coordinates
    terminate      SIGTERM of all: they save after the same step and exit with 75; the same command resumes
    slow           process 1 stops for five seconds, half of the heartbeat: the other waits
    missing        one process of two never arrives
    corrupt        the newest checkpoint is truncated: both resume from the one before
    half           four devices are stopped, and one process of two devices resumes
    double         four devices are stopped, and two processes of four devices each resume
    disk           the disk is full from the first checkpoint on: training goes on and reports it, and the command
                   finishes once there is room
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.experiment import Headline, Study, StudyResult
from dlcore.main import main
from experiments.bench.compare_runs import differences, final_arrays

STEPS = 300


def flags(folder: Path, **more: Any) -> list[str]:
    """The command line of every run."""
    values = {
        "model": "mlp",
        "steps": STEPS,
        "batch_size": 32,
        "log_every": 1,
        "eval_every": 100,
        "checkpoint_steps": 10,
        "checkpoint_seconds": 0,
        "select": "last",
        "augment": "none",
        "run_dir": folder,
        **more,
    }
    return ["-m", "experiments.classification.supervised", *(f"--{k}={v}" for k, v in values.items())]


class Job:
    """A launcher, its processes, and the lines that they print, with times."""

    def __init__(self, folder: Path, processes: int = 2, devices: int = 2, restarts: int = 0, **more: Any):
        self.folder = folder
        start = ["-m", "launch.local", f"--processes={processes}", f"--devices={devices}", f"--restarts={restarts}"]
        self.process = subprocess.Popen(
            [sys.executable, *start, "--", *flags(folder, **more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip()))

    def rank(self, index: int) -> int:
        """The operating system's process number of process `index`."""
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if f"JAX_PROCESS_ID={index}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return int(pid)
        raise OSError(f"process {index} is not running:\n" + "\n".join(line for _, line in self.lines[-20:]))

    def until(self, step: int) -> None:
        """Wait until the log has reached `step`."""
        log, began = self.folder / "metrics.jsonl", time.monotonic()
        while not log.exists() or log.read_text().count('"split": "train"') < step:
            if self.process.poll() is not None or time.monotonic() - began > 300:
                raise OSError(f"the run never reached step {step}:\n" + "\n".join(line for _, line in self.lines[-20:]))
            time.sleep(0.02)

    def end(self) -> int:
        """Wait for the launcher; its exit status."""
        status = self.process.wait(timeout=400)
        self._reader.join(10)
        return status

    def lines_with(self, *parts: str) -> list[tuple[float, str]]:
        """(time, line) of every line that contains all of `parts`."""
        return [(when, line) for when, line in self.lines if all(part in line for part in parts)]


def finish(folder: Path, **more: Any) -> Job:
    """Run the same command again, to its end."""
    job = Job(folder, **more)
    if status := job.end():
        raise OSError(f"status {status}:\n" + "\n".join(line for _, line in job.lines[-20:]))
    return job


def compared(whole: Path, folder: Path) -> str:
    """ "equal", or the first difference."""
    mismatches = differences(whole, folder)
    return "equal" if not mismatches else f"NOT EQUAL: {mismatches[0]} and {len(mismatches) - 1} more"


def apart(whole: Path, folder: Path) -> str:
    """The largest difference of a parameter."""
    left, right = final_arrays(whole), final_arrays(folder)
    largest = max(float(np.abs(left[k].astype(np.float64) - right[k]).max(initial=0)) for k in left if "params" in k)
    return f"parameters {largest:.1e} apart"


def kill(folder: Path, whole: Path, index: int = 1) -> dict:
    """SIGKILL of one process: the other aborts, and the launcher names the lost one and restarts both."""
    job = Job(folder, restarts=1)
    job.until(STEPS // 3)
    os.kill(job.rank(index), signal.SIGKILL)
    at = time.monotonic()
    status = job.end()
    named = job.lines_with("[launch]", f"process {index} ended by SIGKILL")
    ended = [when - at for when, line in job.lines_with("[launch] process")]
    return {
        "seconds": max(ended, default=None),
        "status": status,
        "named": bool(named),
        "restarted": len(job.lines_with("starting again")),
        "outcome": compared(whole, folder),
    }


def coordinator(folder: Path, whole: Path) -> dict:
    """SIGKILL of process 0, which coordinates."""
    return kill(folder, whole, index=0)


def terminate(folder: Path, whole: Path) -> dict:
    """SIGTERM of all: they save after the same step and exit with 75; the same command resumes."""
    job = Job(folder)
    job.until(STEPS // 3)
    at = time.monotonic()
    job.process.send_signal(signal.SIGTERM)
    status = job.end()
    seconds = time.monotonic() - at
    resumed = finish(folder).lines_with("resuming after step")
    return {"seconds": seconds, "status": status, "printed": resumed[0][1], "outcome": compared(whole, folder)}


def missing(folder: Path, whole: Path) -> dict:
    """One process of two never arrives."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": "localhost:47901",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "0",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *flags(folder, join_seconds=5)], env=environment, capture_output=True, text=True, timeout=200
    )
    lines = [line for line in done.stderr.splitlines() if "joins at" in line]
    return {
        "seconds": time.monotonic() - began,
        "status": done.returncode,
        "outcome": (lines or ["it printed nothing"])[-1] + "; then aborted",
    }


def slow(folder: Path, whole: Path) -> dict:
    """One process stops for five seconds, half of the heartbeat: the other waits."""
    job = Job(folder)
    job.until(STEPS // 3)
    pid = job.rank(1)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(pid, signal.SIGCONT)
    return {"seconds": 5.0, "status": job.end(), "outcome": compared(whole, folder)}


def corrupt(folder: Path, whole: Path) -> dict:
    """The newest checkpoint is truncated: both resume from the one before."""
    _stopped(folder)
    newest = max(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())
    for path in (folder / "checkpoints" / str(newest) / "state").rglob("manifest.ocdbt"):
        path.write_bytes(path.read_bytes()[:20])
    began = time.monotonic()
    job = finish(folder)
    lines = [line for _, line in job.lines_with("resuming after step")]
    return {
        "seconds": time.monotonic() - began,
        "status": 0,
        "printed": f"newest {newest}; {lines[0]}",
        "outcome": compared(whole, folder),
    }


def half(folder: Path, whole: Path) -> dict:
    """Four devices are stopped, and one process of two devices resumes."""
    _stopped(folder)
    finish(folder, processes=1, devices=2)
    return {"status": 0, "outcome": apart(whole, folder)}


def double(folder: Path, whole: Path) -> dict:
    """Four devices are stopped, and two processes of four devices each resume."""
    _stopped(folder)
    finish(folder, processes=2, devices=4)
    return {"status": 0, "outcome": apart(whole, folder)}


def _stopped(folder: Path) -> None:
    job = Job(folder)
    job.until(STEPS // 3)
    job.process.send_signal(signal.SIGTERM)
    if (status := job.end()) != 75:
        raise OSError(f"status {status} after SIGTERM")


def disk(folder: Path, whole: Path) -> dict:
    """The disk is full from the first checkpoint on: training reports it; with room the command finishes."""
    if os.geteuid():
        return {"outcome": "skipped: mounting a small tmpfs needs root"}
    with _tmpfs(folder, "700k"):
        job = Job(folder / "run")
        status = job.end()
        warnings = job.lines_with("CHECKPOINT NOT SAVED")
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        finish(folder / "run")
        return {
            "status": status,
            "printed": f"{len(warnings)} lines CHECKPOINT NOT SAVED",
            "outcome": compared(whole, folder / "run"),
        }


@contextmanager
def _tmpfs(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


FAULTS: dict[str, Callable[[Path, Path], dict]] = {
    "kill": kill,
    "coordinator": coordinator,
    "terminate": terminate,
    "slow": slow,
    "missing": missing,
    "corrupt": corrupt,
    "half": half,
    "double": double,
    "disk": disk,
}


def measure(*, faults: tuple[str, ...] = tuple(FAULTS)) -> StudyResult:
    """Break, resume and compare.

    Args:
      faults: names from kill, coordinator, terminate, slow, missing, corrupt, half, double, disk.
    """
    if unknown := [name for name in faults if name not in FAULTS]:
        raise ValueError(f"faults={unknown[0]}: unknown; allowed: {', '.join(FAULTS)}")
    numbers, outcomes = {}, {}
    with tempfile.TemporaryDirectory() as workdir:
        whole = Path(workdir) / "whole"
        finish(whole)
        for name in faults:
            facts = FAULTS[name](Path(workdir) / name, whole)
            numbers |= {f"{name}: {key}": value for key, value in facts.items() if value is not None}
            outcomes[name] = facts["outcome"]
            print(f"{name}: {outcomes[name]}", flush=True)
    verdict = "; ".join(f"{name}: {outcome}" for name, outcome in outcomes.items()) + "."
    headline = Headline(
        "faults that left equal results", sum("NOT EQUAL" not in outcome for outcome in outcomes.values()), "digits"
    )
    return StudyResult(
        numbers, verdict, holds=not any("NOT EQUAL" in outcome for outcome in outcomes.values()), headline=headline
    )


experiment = Study(__file__, __doc__, measure, smoke={"faults": ("missing",)})

if __name__ == "__main__":
    main(experiment)
