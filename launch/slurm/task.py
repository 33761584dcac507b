"""Watch one rank of a Slurm step, and combine the statuses of all ranks.

    srun python -m launch.slurm.task FOLDER -m experiments.TOPIC.NAME --flag=...     in the step, one each
    python -m launch.slurm.task FOLDER --judge=RANKS                                 in the batch script, afterwards

srun gives one status, the highest: 134 of the ranks that were aborted hides the 1 of the one that failed. So each rank
writes its own to FOLDER/rank-N, where all nodes see it. A signal that Slurm sends to a step reaches the process that
srun started and, with proctrack/cgroup, no child of it: SIGTERM is therefore passed on.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launch.local import RETRY, describe, verdict

__all__ = ["judge", "main", "watch"]

LOST = -signal.SIGKILL
ABORTED = (-signal.SIGABRT, 134)
SKEW = 1.0
"""Seconds by which the clocks of two nodes may differ."""


def watch(folder: Path, rank: int, command: Sequence[str]) -> int:
    """Run a command as this rank, pass SIGTERM and SIGINT on to it, and write its status to a file.

    Args:
      folder: for the file rank-N, seen by all nodes.
      rank: of this process.
      command: the arguments of python, ["-m", module, ...].

    Returns:
      The exit status, as a shell gives it.
    """
    record = {"host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(), "status": None, "ended": None}
    _write(folder, rank, record)
    waiting: list[int] = []
    processes: list[subprocess.Popen] = []

    def pass_on(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(number)
        if not processes:
            waiting.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    processes.append(subprocess.Popen([sys.executable, *command]))
    for number in waiting:
        processes[0].send_signal(number)
    status = processes[0].wait()
    _write(folder, rank, {**record, "status": status, "ended": time.time()})
    return status if status >= 0 else 128 - status


def _write(folder: Path, rank: int, record: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"rank-{rank}.tmp"
    temporary.write_text(json.dumps(record))
    os.replace(temporary, folder / f"rank-{rank}")


def judge(folder: Path, ranks: int) -> tuple[int, list[str]]:
    """Combine the statuses of all ranks.

    A rank without a status was lost together with its node or task. A rank that fails after another was killed fails
    because of it: a collective whose other end is gone raises, often before jax aborts. Where no rank began, the cause
    lies outside, and the job is not requeued: 1.

    Args:
      folder: of the files that `watch` wrote.
      ranks: how many there are.

    Returns:
      (status, lines that explain it): 0, the status of a rank that failed by itself, or 75: run it again.
    """
    records = [_read(folder / f"rank-{rank}") for rank in range(ranks)]
    if not any(records):
        return 1, ["no rank began: see the messages of srun above"]
    statuses = [LOST if rank is None or rank["status"] is None else rank["status"] for rank in records]
    first = min((rank["ended"] for rank in records if rank and rank["status"]), default=math.inf)
    killed = min((rank["ended"] for rank in records if rank and rank["status"] == LOST), default=math.inf)
    lines = []
    for index, rank in enumerate(records):
        name, status = f"rank {index} of {ranks}" + (f" on {rank['host']}" if rank else ""), statuses[index]
        later = f", {rank['ended'] - first:.1f} s later" if rank and rank["ended"] and rank["ended"] > first else ""
        if rank is None:
            lines.append(f"{name}: never began")
        elif rank["status"] is None:
            lines.append(f"{name}: lost without a status; its node or its whole task is gone")
        elif status in ABORTED and ranks > 1:
            lines.append(f"{name}: aborted, as jax does when another is gone{later}")
        elif status < 0 and status != -signal.SIGTERM:
            lines.append(f"{name}: lost, {describe(status)}")
        elif status not in (0, *RETRY) and rank["ended"] > killed - SKEW:
            statuses[index] = LOST
            lines.append(f"{name}: {describe(status)} when another was killed{later}")
        elif status:
            lines.append(f"{name}: {describe(status)}")
    return verdict(statuses), lines


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except OSError:
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Watch a rank, or combine the statuses of all.

    Args:
      argv: the command line; that of the process by default.

    Returns:
      The exit status.
    """
    folder, *rest = sys.argv[1:] if argv is None else argv
    if rest[0].startswith("--judge="):
        status, lines = judge(Path(folder), int(rest[0].removeprefix("--judge=")))
        print("".join(f"[launch] {line}\n" for line in lines), end="", flush=True)
        return status
    return watch(Path(folder), int(os.environ["SLURM_PROCID"]), rest)


if __name__ == "__main__":
    raise SystemExit(main())
