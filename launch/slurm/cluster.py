"""Run a Slurm of two nodes on this machine within a block, to test what happens on a cluster.

    with cluster(Path("/tmp/slurm")) as environment:
        subprocess.run(["sbatch", ...], env=environment)

Debian's packages slurm-wlm and munge, started as root with a configuration, a key, sockets and ports of their own:
nothing under /etc is read or written, and a Slurm that runs beside it is not disturbed. The nodes are called 127.0.0.2
and 127.0.0.3, names that every Linux resolves. Processes are tracked by their parents and not confined
(proctrack/linuxproc, task/none), so that no control group is needed.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from launch.local import free_port

__all__ = ["NODES", "cluster", "missing"]

NODES = ("127.0.0.2", "127.0.0.3")
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
CONFIGURATION = """\
ClusterName=proof
FirstJobId={first}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MailProg=/bin/true
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
"""cred_expire is also how long a requeued job waits before it starts again, 120 seconds by default. FirstJobId is
random: a job's number gives the port where its processes meet, and two clusters on one machine must not share it.
"""


ELSEWHERE = ("/usr/sbin", "/sbin")
"""Folders of daemons that a user's PATH does not contain."""


def missing() -> str | None:
    """Check whether `cluster` can run here.

    Returns:
      The reason why not; None where it can.
    """
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install slurm-wlm munge"
    return "Slurm's daemons need root" if os.geteuid() else None


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), *ELSEWHERE])


@contextlib.contextmanager
def cluster(folder: Path, cpus: int = 4) -> Iterator[dict[str, str]]:
    """Start the daemons, and end jobs and daemons after the block.

    Args:
      folder: for configuration, state and logs; created.
      cpus: that each node claims to have.

    Yields:
      The environment in which Slurm's commands reach the daemons.

    Raises:
      RuntimeError: Slurm is not installed, this is not root, or a daemon does not start; its log is quoted.
    """
    if reason := missing():
        raise RuntimeError(reason)
    folder = folder.absolute()
    (folder / "state").mkdir(parents=True)
    host, configuration = socket.gethostname().split(".")[0], folder / "slurm.conf"
    text = CONFIGURATION.format(host=host, port=free_port(), folder=folder, first=random.randrange(1, 60000))
    for node in NODES:
        text += f"NodeName={node} NodeHostname={host} NodeAddr={node} Port={free_port()} CPUs={cpus} State=UNKNOWN\n"
    configuration.write_text(text)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
    environment = {**clean, "PATH": _path(), "SLURM_CONF": str(configuration)}
    options = [f"--key-file={key}"]
    options += [
        f"--{kind}={folder}/munge.{kind.split('-')[0]}" for kind in ("socket", "pid-file", "log-file", "seed-file")
    ]
    started: list[subprocess.Popen] = []
    try:
        _start(started, environment, folder / "munged.log", "munged", "--foreground", "--force", *options)
        _wait(folder / "munged.log", environment, ["munge", "-n", "-S", str(folder / "munge.socket")])
        _start(started, environment, folder / "slurmctld.log", "slurmctld", "-D", "-c")
        for node in NODES:
            (folder / f"spool-{node}").mkdir()
            _start(started, environment, folder / f"slurmd-{node}.log", "slurmd", "-D", "-N", node)
        for node in NODES:
            ready = ["bash", "-c", f"scontrol show node {node} | grep -q State=IDLE"]
            _wait(folder / "slurmctld.log", environment, ready)
        yield environment
    finally:
        _end(started, environment, configuration)


def _start(started: list, environment: dict, log: Path, *command: str) -> None:
    with log.open("a") as output:
        started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))


def _wait(log: Path, environment: dict, command: Sequence[str], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise RuntimeError(f"after {seconds:g} s {' '.join(command)} still fails; {log.name} ends with\n{tail}")
        time.sleep(0.2)


def _end(started: list[subprocess.Popen], environment: dict, configuration: Path) -> None:
    """Cancel what runs, wait for it, stop the daemons, the last started first, and kill what is left of the jobs."""
    if len(started) > 1:
        quiet = {"env": environment, "capture_output": True, "text": True, "check": False, "timeout": 30}
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["scancel", "--user=root"], **quiet)
            deadline = time.monotonic() + 60
            while subprocess.run(["squeue", "-h"], **quiet).stdout.strip() and time.monotonic() < deadline:
                time.sleep(0.5)
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    mark = f"SLURM_CONF={configuration}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.name != str(os.getpid()) and mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
