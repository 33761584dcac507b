"""Start several processes of one experiment on this machine, to test multi-host code or to use one GPU each.

    python -m launch.local --processes=2 --devices=4 -- -m experiments.classification.supervised --smoke

Every process gets its rank and the address of the first in JAX_PROCESS_ID, JAX_NUM_PROCESSES and
JAX_COORDINATOR_ADDRESS; its lines are printed with its rank in front. SIGTERM and SIGINT are passed on to all. When a
process fails or is killed, the launcher names it, and kills the others after `--grace` seconds. It restarts all, up to
`--restarts` times, unless one failed by an error of its own: after a preemption (75) or a loss (a signal). It exits
with 0, with the status of the process that failed, or with 75.
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

from dlcore.choices import check_given_once

__all__ = ["RETRY", "describe", "main", "verdict"]

RETRY = (75, 134, 143, 137)
"""Statuses after which the same command resumes: preempted, aborted because another was lost, stopped, killed."""


def verdict(statuses: Sequence[int]) -> int:
    """Combine the exit statuses of all processes.

    Args:
      statuses: of `subprocess`: minus the signal's number for a process that a signal ended.

    Returns:
      0; the status of a process that failed by its own error; or 75 where all can be restarted.
    """
    shell = [128 - status if status < 0 else status for status in statuses]
    failed = [status for status in shell if status and status not in RETRY]
    return failed[0] if failed else 75 if any(shell) else 0


def describe(status: int) -> str:
    """Describe an exit status in words.

    Args:
      status: of a shell, or of `subprocess`.

    Returns:
      Text such as "ended by SIGKILL".
    """
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"ended by {name}"
    return {0: "finished", 75: "preempted, saved", 2: "a wrong flag (2)"}.get(status, f"failed with status {status}")


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def environment(index: int, processes: int, port: int, devices: int | None) -> dict[str, str]:
    """The environment of process `index` of `processes`."""
    variables = {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
        "PYTHONUNBUFFERED": "1",
    }
    if devices is not None:
        others = [word for word in variables.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in word]
        variables["XLA_FLAGS"] = " ".join([*others, f"--xla_force_host_platform_device_count={devices}"])
        variables["JAX_PLATFORMS"] = "cpu"
    elif variables.get("JAX_PLATFORMS") != "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = str(index)
    return variables


def _copy(stream: IO[str], index: int) -> None:
    for line in stream:
        if "[Gloo] Rank" not in line:
            # One write: `print` writes the end of the line apart, and another thread's line could come between.
            sys.stdout.write(f"[{index}] {line.rstrip()}\n")
            sys.stdout.flush()


class _Attempt:
    """All processes, once."""

    def __init__(self, command: Sequence[str], processes: int, devices: int | None):
        port = free_port()
        self.first = 0
        """Status of the first process that failed; what fails after a process was killed fails because of it."""
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
        """Wait for all, and kill those that outlive a lost one by `grace` seconds; their statuses."""
        reported: set[int] = set()
        deadline = None
        while any(process.poll() is None for process in self.processes):
            for i, process in enumerate(self.processes):
                if process.poll() and i not in reported:
                    reported.add(i)
                    self.first = self.first or process.returncode
                    print(f"[launch] process {i} {describe(process.returncode)}", flush=True)
                    deadline = deadline or time.monotonic() + grace
            if deadline is not None and time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.05)
        for i, process in enumerate(self.processes):
            if process.returncode and i not in reported:
                print(f"[launch] process {i} {describe(process.returncode)}", flush=True)
        for reader in self.readers:
            reader.join(5)
        return [process.returncode for process in self.processes]


def main(argv: Sequence[str] | None = None) -> int:
    """Start all processes, wait for them, and restart them where that can help.

    Args:
      argv: the command line; that of the process by default.

    Returns:
      The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="how many to start")
    parser.add_argument("--devices", type=int, help="virtual CPU devices of each process; none: one GPU each")
    parser.add_argument(
        "--restarts", type=int, default=0, help="how often to restart processes that were preempted or lost"
    )
    parser.add_argument(
        "--grace", type=float, default=30, help="seconds until the others are killed after one was lost"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the arguments of python")
    argv = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(argv)
    try:
        check_given_once(argv[: len(argv) - len(options.command)])
    except ValueError as error:
        parser.error(str(error))
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    for name, least in {"processes": 1, "devices": 1, "restarts": 0}.items():
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name}={value}: too small; allowed: at least {least}")
    if not 0 <= options.grace < float("inf"):
        parser.error(f"--grace={options.grace}: no time; allowed: seconds, finite and at least 0")
    if not command:
        parser.error("nothing to run; allowed: -- -m experiments.TOPIC.NAME and its flags at the end")
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
