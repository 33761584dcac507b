"""Test the batch script on a real Slurm: two nodes on this machine, each with one process and four virtual devices.

    python -m launch.slurm.proof

As root, with Debian's slurm-wlm and munge; some minutes. Seven jobs and one process without Slurm train the same
small network by plain SGD:

    undisturbed         equals the single process with eight devices to 1e-6
    SIGTERM             saves, is requeued, finishes: every byte is the undisturbed job's
    SIGKILL of a rank   the other ends within seconds, the log names the lost one; requeued, finishes: every byte
    rate 1e30, an unknown flag     end with status 1 and 2, and are not requeued
    cancelled           stays cancelled

The learning rate is low on purpose: at 0.1 the rounding differences between eight devices in one process and in two
grew to 1e-3 in 300 steps. The daemons are those of launch.slurm.cluster; they end with the command.
"""

import argparse
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dlcore.run.metrics_writer import read_metrics
from experiments.bench.compare_runs import TIMES
from launch.slurm.cluster import cluster, missing

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = "experiments.classification.supervised"
FLAGS = {
    "model": "mlp",
    "optimizer": "sgd",
    "momentum": 0.0,
    "schedule": "constant",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "augment": "none",
    "ema": "none",
    "batch_size": 64,
    "log_every": 1,
    "eval_every": 47,
    "checkpoint_seconds": 0,
    "checkpoint_steps": 20,
    "select": "last",
    "mesh": "data:8",
}
TOLERANCE = 1e-6
SOON = 30
"""Seconds within which the others must have ended after one was killed."""


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint by path, for any devices and processes that saved it."""
    import jax
    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.ERROR)
    newest = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    path, reader = (folder / "checkpoints" / str(newest) / "state").absolute(), ocp.PyTreeCheckpointer()
    target = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(path).item_metadata.tree)
    leaves = jax.tree.leaves_with_path(reader.restore(path, restore_args=target))
    return {jax.tree_util.keystr(name, simple=True, separator="/"): np.asarray(leaf) for name, leaf in leaves}


def rows(folder: Path) -> list[dict]:
    """Every logged number but times."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder)]


class Proof:
    """The steps of the test; `failed` counts the checks that did not hold."""

    def __init__(self, folder: Path, steps: int, environment: dict[str, str]):
        self.folder, self.steps, self.failed = folder, steps, 0
        self.environment = {
            **environment,
            "DLCORE_PYTHON": sys.executable,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        }

    def words(self, name: str, **other: object) -> list[str]:
        """The experiment's flags for a run folder of this name."""
        flags = {**FLAGS, "steps": self.steps, "run_dir": self.folder / name, **other}
        return [PAGE, *(f"--{k}={v}" for k, v in flags.items())]

    def say(self, text: str, holds: bool | None = None) -> None:
        """Print a line, and whether its check held; None checks nothing."""
        self.failed += holds is False
        print(text + ("" if holds is None else "  ok" if holds else "  WRONG"), flush=True)

    def command(self, *words: object) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run([str(w) for w in words], env=self.environment, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout.strip()

    def single(self) -> float:
        """Train without Slurm in one process with eight devices; seconds."""
        began = time.monotonic()
        environment = {**self.environment, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
        done = subprocess.run(
            [sys.executable, "-m", *self.words("single")], env=environment, cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return time.monotonic() - began

    def submit(self, name: str, **other: object) -> str:
        """Submit the batch script as a user would; the job's number."""
        options = ["--parsable", "--nodes=2", "--time=30", f"--job-name={name}", f"--output={self.log(name)}"]
        return self.command("sbatch", *options, "launch/slurm/run.sbatch", *self.words(name, **other))

    def log(self, name: str) -> Path:
        """Where a job's output goes."""
        return self.folder / f"{name}.log"

    def job(self, number: str) -> dict[str, str]:
        """Slurm's record of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.command("scontrol", "show", "job", "-o", number)))

    def wait(self, number: str, seconds: float = 900) -> dict[str, str]:
        """Wait until a job is over; Slurm's record of it."""
        deadline = time.monotonic() + seconds
        while (record := self.job(number))["JobState"] not in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {number} is still {record['JobState']} after {seconds:g} s")
            time.sleep(0.3)
        return record

    def wait_for_step(self, name: str, number: str) -> int:
        """Wait until a job has logged a third of its steps; the step that it has reached."""
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                step = (self.folder / name / "metrics.jsonl").read_text().count('"train"')
                if step >= self.steps // 3:
                    return step
            if time.monotonic() > deadline or self.job(number)["JobState"] not in ("PENDING", "RUNNING"):
                raise RuntimeError(f"job {name} does not train:\n{self.log(name).read_text()[-2000:]}")
            time.sleep(0.05)

    def finished(self, name: str, number: str, requeued: int) -> None:
        """Check that a job finishes after so many requeues, with the bytes of the undisturbed one."""
        record = self.wait(number)
        holds = record["JobState"] == "COMPLETED" and record["Restarts"] == str(requeued)
        self.say(f"  {record['JobState'].lower()}, requeues: {record['Restarts']}", holds)
        mine, theirs = arrays(self.folder / name), arrays(self.folder / "whole")
        names = {*mine, *theirs}
        mismatches = [k for k in names if k not in mine or k not in theirs or mine[k].tobytes() != theirs[k].tobytes()]
        same = rows(self.folder / name) == rows(self.folder / "whole")
        size, lines = sum(x.nbytes for x in theirs.values()), len(rows(self.folder / "whole"))
        text = f"  {size:,} bytes in {len(theirs)} arrays of the last checkpoint and {lines} logged rows: "
        equal = same and not mismatches
        self.say(text + ("identical" if equal else f"{mismatches or 'the rows'} differ"), equal)

    def whole(self) -> None:
        """One process against an undisturbed job."""
        self.say(f"one process, 8 devices, no Slurm: {self.single():.0f} s")
        began = time.monotonic()
        number = self.submit("whole")
        record = self.wait(number)
        holds = record["JobState"] == "COMPLETED" and record["Restarts"] == "0"
        self.say(f"job {number}, undisturbed: {record['JobState'].lower()}, {time.monotonic() - began:.0f} s", holds)
        one, two = (arrays(self.folder / name) for name in ("single", "whole"))
        names = [name for name in one if "params" in name]
        parameters = max(float(np.max(np.abs(one[name] - two[name]))) for name in names)
        pairs = zip(rows(self.folder / "single"), rows(self.folder / "whole"), strict=True)
        losses = max(abs(a["loss"] - b["loss"]) for a, b in pairs)
        text = f"  against the one process: parameters differ by {parameters:.1e} at most, losses by {losses:.1e}"
        self.say(f"{text}; allowed {TOLERANCE:.0e}", max(parameters, losses) <= TOLERANCE and bool(names))

    def preempted(self) -> None:
        """The signal that Slurm sends before the time limit and at a preemption."""
        number = self.submit("preempted")
        self.say(f"job {number}, SIGTERM after step {self.wait_for_step('preempted', number)}")
        self.command("scancel", "--signal=TERM", number)
        self.finished("preempted", number, 1)
        log = self.log("preempted").read_text()
        events = re.findall(
            r"stopped by a signal after step \d+, saved|resuming after step \d+|\[launch\] requeued", log
        )
        self.say(f"  its log: {'; '.join(dict.fromkeys(events))}", len(set(events)) == 3)

    def killed(self, rank: int) -> None:
        """The loss of a process: of rank 0, which coordinates, or of another."""
        name = f"killed{rank}"
        number = self.submit(name)
        step = self.wait_for_step(name, number)
        os.kill(self.process(number, rank), signal.SIGKILL)
        self.say(f"job {number}, SIGKILL of rank {rank} after step {step}")
        self.finished(name, number, 1)
        log = self.log(name).read_text()
        lines = re.findall(r"\[launch\] (rank .*)", log)
        for line in lines:
            self.say(f"  its log: {line}")
        late = [float(s) for s in re.findall(r"another (?:is gone|was killed), ([\d.]+) s later", log)]
        holds = max(late, default=0) < SOON and any(f"rank {rank} of" in x and "SIGKILL" in x for x in lines)
        self.say(f"  the lost rank is named, and the other ended within {SOON} s", holds)

    def process(self, number: str, rank: int) -> int:
        """The process number of a rank's python, not of the one that watches it."""
        marks = {f"SLURM_JOB_ID={number}".encode(), f"SLURM_PROCID={rank}".encode()}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words, variables = ((entry / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
                if words[1:3] == [b"-m", PAGE.encode()] and marks <= set(variables):
                    return int(entry.name)
        raise RuntimeError(f"no process is rank {rank} of job {number}")

    def refused(self, name: str, status: int, **other: object) -> None:
        """Check that a job that fails by its own error is not requeued."""
        number = self.submit(name, **other)
        record = self.wait(number)
        holds = (record["JobState"], record["ExitCode"], record["Restarts"]) == ("FAILED", f"{status}:0", "0")
        flags = " ".join(f"--{k}={v}" for k, v in other.items())
        outcome = f"{record['JobState'].lower()} with status {record['ExitCode'].split(':')[0]}"
        self.say(f"job {number}, {flags}: {outcome}, requeues: {record['Restarts']}", holds)

    def cancelled(self) -> None:
        """A job that its user cancels."""
        number = self.submit("cancelled")
        self.wait_for_step("cancelled", number)
        self.command("scancel", number)
        self.wait(number)
        time.sleep(8)
        record = self.job(number)
        holds = (record["JobState"], record["Restarts"]) == ("CANCELLED", "0")
        self.say(f"job {number}, scancel: {record['JobState'].lower()}, requeues: {record['Restarts']}", holds)


def main(argv: list[str] | None = None) -> int:
    """Run all jobs and checks.

    Args:
      argv: the command line; that of the process by default.

    Returns:
      0 where all checks held, 1 where not, 77 where Slurm cannot be started here.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="of training in each job")
    parser.add_argument("--keep", action="store_true", help="keep runs, logs and Slurm's own logs")
    options = parser.parse_args(argv)
    if reason := missing():
        print(f"skipped: {reason}")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemons end too
    folder, began = Path(tempfile.mkdtemp(prefix="slurm-proof-")), time.monotonic()
    try:
        with cluster(folder / "slurm") as environment:
            proof = Proof(folder, options.steps, environment)
            version = proof.command("scontrol", "--version")
            proof.say(f"{version}: 2 nodes x 1 task x 4 devices, {options.steps} steps, in {folder}")
            proof.whole()
            proof.preempted()
            proof.killed(1)
            proof.killed(0)
            proof.refused("rate", 1, learning_rate=1e30)
            proof.refused("flag", 2, no_such_flag=1)
            proof.cancelled()
        summary = f"{proof.failed} checks are WRONG" if proof.failed else "all checks held"
        proof.say(f"{summary}; {time.monotonic() - began:.0f} s, Slurm has ended")
        return int(proof.failed > 0)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
