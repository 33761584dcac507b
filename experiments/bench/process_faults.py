"""What happens to a run of two processes when something breaks: each fault is made, and what is left is compared.

python -m experiments.bench.faults [--faults=kill,coordinator,...] [--json=faults.json]

A perceptron trains on digits in two processes of two devices each, started by `launch.local`, and saves every ten
steps. "Equal" means that every logged number and every array of the last checkpoint is byte for byte that of a run that
nobody disturbed; "apart" is the largest difference of an array. Seconds count from the fault to the end of the last
process. A full disk is a small tmpfs, for which the command must be root.
"""

import argparse
import json
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

from experiments.bench.kill import differences, final_arrays

STEPS = 300


def flags(folder: Path, **more: Any) -> list[str]:
    """What every run is started with."""
    found = {
        "model": "mlp", "steps": STEPS, "batch_size": 32, "log_every": 1, "eval_every": 100, "checkpoint_steps": 10,
        "checkpoint_seconds": 0, "select": "last", "augment": "none", "run_dir": folder, **more,
    }  # fmt: skip
    return ["-m", "experiments.classification.supervised", *(f"--{k}={v}" for k, v in found.items())]


class Job:
    """A launcher and its processes, with the lines that they have printed."""

    def __init__(self, folder: Path, processes: int = 2, devices: int = 2, restarts: int = 0, **more: Any):
        self.folder = folder
        start = ["-m", "launch.local", f"--processes={processes}", f"--devices={devices}", f"--restarts={restarts}"]
        self.process = subprocess.Popen(
            [sys.executable, *start, "--", *flags(folder, **more)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip()))

    def rank(self, index: int) -> int:
        """The number of the operating system for process `index`."""
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if f"JAX_PROCESS_ID={index}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return int(pid)
        raise RuntimeError(f"process {index} is not running:\n" + "\n".join(line for _, line in self.lines[-20:]))

    def until(self, step: int) -> None:
        """Wait until the log has come to `step`."""
        log, began = self.folder / "metrics.jsonl", time.monotonic()
        while not log.exists() or log.read_text().count('"split": "train"') < step:
            if self.process.poll() is not None or time.monotonic() - began > 300:
                raise RuntimeError(f"it never came to step {step}:\n" + "\n".join(line for _, line in self.lines[-20:]))
            time.sleep(0.02)

    def end(self) -> int:
        """The launcher's status."""
        status = self.process.wait(timeout=400)
        self._reader.join(10)
        return status

    def said(self, *parts: str) -> list[tuple[float, str]]:
        """When which lines with these words were printed."""
        return [(when, line) for when, line in self.lines if all(part in line for part in parts)]


def finish(folder: Path, **more: Any) -> Job:
    """The same command once more, to its end."""
    job = Job(folder, **more)
    if status := job.end():
        raise RuntimeError(f"status {status}:\n" + "\n".join(line for _, line in job.lines[-20:]))
    return job


def compared(whole: Path, folder: Path) -> str:
    found = differences(whole, folder)
    return "equal" if not found else f"NOT EQUAL: {found[0]} and {len(found) - 1} more"


def apart(whole: Path, folder: Path) -> str:
    left, right = final_arrays(whole), final_arrays(folder)
    worst = max(float(np.abs(left[k].astype(np.float64) - right[k]).max(initial=0)) for k in left if "params" in k)
    return f"parameters {worst:.1e} apart"


def kill(folder: Path, whole: Path, index: int = 1) -> dict:
    """SIGKILL of one process: the other aborts, the launcher names the lost one and starts both again."""
    job = Job(folder, restarts=1)
    job.until(STEPS // 3)
    os.kill(job.rank(index), signal.SIGKILL)
    at = time.monotonic()
    status = job.end()
    named = job.said("[launch]", f"process {index} ended by SIGKILL")
    ended = [when - at for when, line in job.said("[launch] process")]
    return {
        "seconds": max(ended, default=None), "status": status, "named": bool(named),
        "restarted": len(job.said("starting again")), "outcome": compared(whole, folder),
    }  # fmt: skip


def coordinator(folder: Path, whole: Path) -> dict:
    """SIGKILL of process 0, which coordinates."""
    return kill(folder, whole, index=0)


def terminate(folder: Path, whole: Path) -> dict:
    """SIGTERM of all: they save after the same step and leave with 75; the same command goes on."""
    job = Job(folder)
    job.until(STEPS // 3)
    at = time.monotonic()
    job.process.send_signal(signal.SIGTERM)
    status = job.end()
    seconds = time.monotonic() - at
    resumed = finish(folder).said("resuming after step")
    return {"seconds": seconds, "status": status, "said": resumed[0][1], "outcome": compared(whole, folder)}


def missing(folder: Path, whole: Path) -> dict:
    """One process of two never arrives."""
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": "localhost:47901", "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "0",
    }  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *flags(folder, join_seconds=5)], env=environment, capture_output=True, text=True, timeout=200
    )
    said = [line for line in done.stderr.splitlines() if "joins at" in line]
    return {
        "seconds": time.monotonic() - began,
        "status": done.returncode,
        "outcome": (said or ["it said nothing"])[-1] + "; then aborted",
    }


def slow(folder: Path, whole: Path) -> dict:
    """One process stands still for five seconds, half of the heartbeat: the other waits."""
    job = Job(folder)
    job.until(STEPS // 3)
    pid = job.rank(1)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(pid, signal.SIGCONT)
    return {"seconds": 5.0, "status": job.end(), "outcome": compared(whole, folder)}


def corrupt(folder: Path, whole: Path) -> dict:
    """The newest checkpoint is cut short: both go on from the one before."""
    _stopped(folder)
    newest = max(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())
    for path in (folder / "checkpoints" / str(newest) / "state").rglob("manifest.ocdbt"):
        path.write_bytes(path.read_bytes()[:20])
    began = time.monotonic()
    job = finish(folder)
    said = [line for _, line in job.said("resuming after step")]
    return {
        "seconds": time.monotonic() - began, "status": 0, "said": f"newest {newest}; {said[0]}",
        "outcome": compared(whole, folder),
    }  # fmt: skip


def half(folder: Path, whole: Path) -> dict:
    """Four devices are stopped, and one process of two devices goes on."""
    _stopped(folder)
    finish(folder, processes=1, devices=2)
    return {"status": 0, "outcome": apart(whole, folder)}


def double(folder: Path, whole: Path) -> dict:
    """Four devices are stopped, and two processes of four devices each go on."""
    _stopped(folder)
    finish(folder, processes=2, devices=4)
    return {"status": 0, "outcome": apart(whole, folder)}


def _stopped(folder: Path) -> None:
    job = Job(folder)
    job.until(STEPS // 3)
    job.process.send_signal(signal.SIGTERM)
    if (status := job.end()) != 75:
        raise RuntimeError(f"status {status} after SIGTERM")


def disk(folder: Path, whole: Path) -> dict:
    """The disk is full from the first checkpoint on: training goes on and says so; with room the command finishes."""
    if os.geteuid():
        return {"outcome": "not tried: needs root to mount a small tmpfs"}
    with _tmpfs(folder, "700k"):
        job = Job(folder / "run")
        status = job.end()
        lost = job.said("CHECKPOINT NOT SAVED")
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        finish(folder / "run")
        return {
            "status": status, "said": f"{len(lost)} lines CHECKPOINT NOT SAVED",
            "outcome": compared(whole, folder / "run"),
        }  # fmt: skip


@contextmanager
def _tmpfs(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


FAULTS: dict[str, Callable[[Path, Path], dict]] = {
    "kill": kill, "coordinator": coordinator, "terminate": terminate, "slow": slow, "missing": missing,
    "corrupt": corrupt, "half": half, "double": double, "disk": disk,
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Make each fault; 1 where a run that should be equal is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(FAULTS), help="names with commas between")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    options = parser.parse_args(argv)
    names = options.faults.split(",")
    if unknown := set(names) - set(FAULTS):
        parser.error(f"--faults={min(unknown)} is unknown; allowed are {', '.join(FAULTS)}")
    found = {}
    with tempfile.TemporaryDirectory() as workdir:
        whole = Path(workdir) / "whole"
        finish(whole)
        print("an undisturbed run has finished", flush=True)
        for name in names:
            found[name] = FAULTS[name](Path(workdir) / name, whole)
            facts = [
                f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in found[name].items()
            ]
            print(f"\n{name}: {FAULTS[name].__doc__}\n    " + "\n    ".join(facts), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any("NOT EQUAL" in entry["outcome"] for entry in found.values()))


if __name__ == "__main__":
    sys.exit(main())
