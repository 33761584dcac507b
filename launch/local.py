"""Several processes of one experiment on this machine: to try multi-host code on a laptop, or to use its GPUs one each.

    python -m launch.local --processes=2 --devices=4 -- -m experiments.classification.supervised --smoke

Every process gets its number and the address of the first in JAX_PROCESS_ID, JAX_NUM_PROCESSES and
JAX_COORDINATOR_ADDRESS; its lines are printed behind its number. SIGTERM and SIGINT are passed on to all. When one
ends with an error or is killed, it is named, the others get `--grace` seconds to end and are killed then. The whole is
started again, up to `--restarts` times, where none failed by an error of its own: after a pre-emption (75) or a loss (a
signal). It leaves with 0, with the status of the process that failed, or with 75.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

__all__ = ["RETRY", "describe", "main", "verdict"]

RETRY = (75, 134, 143, 137)
"""Statuses after which the same command goes on: pre-empted, aborted because another was lost, stopped, killed."""


def verdict(statuses: Sequence[int]) -> int:
    """The status of the whole: 0; that of an error that a process reports itself; 75 where all can be run again.

    statuses: as `subprocess` gives them, minus the signal's number for a process that a signal ended.
    """
    shell = [128 - status if status < 0 else status for status in statuses]
    failed = [status for status in shell if status and status not in RETRY]
    return failed[0] if failed else 75 if any(shell) else 0


def describe(status: int) -> str:
    """What an exit status says, in words."""
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"ended by {name}"
    return {0: "finished", 75: "pre-empted, saved", 2: "a wrong flag (2)"}.get(status, f"failed with status {status}")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def environment(index: int, processes: int, port: int, devices: int | None) -> dict[str, str]:
    """What process `index` of `processes` finds in its environment."""
    mine = {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
        "PYTHONUNBUFFERED": "1",
    }
    if devices is not None:
        others = [word for word in mine.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in word]
        mine["XLA_FLAGS"] = " ".join([*others, f"--xla_force_host_platform_device_count={devices}"])
        mine["JAX_PLATFORMS"] = "cpu"
    elif mine.get("JAX_PLATFORMS") != "cpu":
        mine["CUDA_VISIBLE_DEVICES"] = str(index)
    return mine


def _copy(stream: IO[str], index: int) -> None:
    for line in stream:
        if "[Gloo] Rank" not in line:
            print(f"[{index}] {line.rstrip()}", flush=True)


class _Attempt:
    """All processes, once."""

    def __init__(self, command: Sequence[str], processes: int, devices: int | None):
        port = free_port()
        self.first = 0
        """How the first that ended badly ended: what fails after one was killed fails because of it."""
        self.processes = [
            subprocess.Popen(
                [sys.executable, *command],
                env=environment(i, processes, port, devices),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for i in range(processes)
        ]
        self.readers = [
            threading.Thread(target=_copy, args=(p.stdout, i), daemon=True) for i, p in enumerate(self.processes)
        ]
        for reader in self.readers:
            reader.start()

    def send(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self, grace: float) -> list[int]:
        """Their statuses, once all have ended; those that outlive a lost one by `grace` seconds are killed."""
        told: set[int] = set()
        deadline = None
        while any(process.poll() is None for process in self.processes):
            for i, process in enumerate(self.processes):
                if process.poll() and i not in told:
                    told.add(i)
                    self.first = self.first or process.returncode
                    print(f"[launch] process {i} {describe(process.returncode)}", flush=True)
                    deadline = deadline or time.monotonic() + grace
            if deadline is not None and time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.05)
        for i, process in enumerate(self.processes):
            if process.returncode and i not in told:
                print(f"[launch] process {i} {describe(process.returncode)}", flush=True)
        for reader in self.readers:
            reader.join(5)
        return [process.returncode for process in self.processes]


def main(argv: Sequence[str] | None = None) -> int:
    """Start, wait, start again; the status to leave with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, help="virtual CPU devices of each process; none: one GPU each")
    parser.add_argument("--restarts", type=int, default=0, help="how often to start again what can go on")
    parser.add_argument("--grace", type=float, default=30, help="seconds that the others have after one was lost")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and what python is to run")
    options = parser.parse_args(argv)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    for name, least in {"processes": 1, "devices": 1, "restarts": 0}.items():
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name}={value} must be at least {least}")
    if not command:
        parser.error("nothing to run: end with -- -m experiments.TOPIC.PAGE and its flags")
    running: list[_Attempt] = []
    stopped = threading.Event()

    def pass_on(number: int, frame: object) -> None:
        stopped.set()
        for attempt in running:
            attempt.send(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for attempt in range(options.restarts + 1):
            running[:] = [_Attempt(command, options.processes, options.devices)]
            status = verdict(running[0].wait(options.grace))
            if status and running[0].first == -signal.SIGKILL:
                status = 75
            if status != 75 or stopped.is_set() or attempt == options.restarts:
                break
            print(f"[launch] starting again ({attempt + 1} of {options.restarts})", flush=True)
    finally:
        for attempt in running:
            attempt.send(signal.SIGKILL)
        for number, handler in before.items():
            signal.signal(number, handler)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
