"""Several processes as one program: `jax.distributed`, joined from what the launcher or the scheduler says.

Who this process is comes from the first of these that is there:

    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID     host:port of process 0, how many, which one
    SLURM_STEP_NUM_TASKS > 1, SLURM_PROCID, SLURM_STEP_NODELIST    a step of srun; the port comes from the job's number
    with --distributed=on and neither: jax's own detection (TPU pods, Open MPI)

Each process takes all devices that CUDA_VISIBLE_DEVICES or srun's --gpus-per-task leave visible; where jax itself
detects Slurm it takes one device a process. A process that ends by an error leaves at once with its own status: waiting
for the others would have all of them aborted, and the error's status lost. The others notice by the missing heartbeat
and abort with 134; no Python of theirs runs any more, so what counts is the last checkpoint.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.run.preemption import REQUEUE

__all__ = ["Membership", "agree", "barrier", "is_first", "joined", "leave", "membership", "on_host", "same"]

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
SHUTDOWN_SECONDS = 3600
"""How long the others wait at the end for process 0, which writes the report. One that dies is noticed long before."""


class Membership(NamedTuple):
    """Which of how many processes this is, and where process 0 listens ("host:port")."""

    address: str
    count: int
    index: int


def membership(environ: Mapping[str, str] = os.environ) -> Membership | None:
    """What the environment says; None where it says nothing, or that this process is alone.

    Raises:
      ValueError: a variable is missing, is no number, or is out of range; it is named.
    """
    if environ.get(ADDRESS) and (COUNT in environ or INDEX in environ):
        found = Membership(environ[ADDRESS], _number(environ, COUNT), _number(environ, INDEX))
    elif environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        count, index = _number(environ, "SLURM_STEP_NUM_TASKS"), _number(environ, "SLURM_PROCID")
        found = Membership(environ.get(ADDRESS) or _slurm_address(environ), count, index)
    else:
        return None
    if ":" not in found.address:
        raise ValueError(f"{ADDRESS}={found.address} is not of the form host:port")
    if not 0 <= found.index < found.count:
        raise ValueError(f"this is process {found.index} of {found.count}; it must be in [0, {found.count})")
    return found if found.count > 1 else None


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except KeyError:
        raise ValueError(f"{name} is not set, though other variables say that this process is one of several") from None
    except ValueError:
        raise ValueError(f"{name}={environ[name]} is not an integer") from None


def _slurm_address(environ: Mapping[str, str]) -> str:
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
    try:
        shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        host = shown.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        raise ValueError(
            f"scontrol does not name the hosts of SLURM_STEP_NODELIST={nodes!r}; set {ADDRESS}=host:port"
        ) from None
    return f"{host}:{61440 + _number(environ, 'SLURM_JOB_ID') % 4096}"


@contextlib.contextmanager
def joined(distributed: str = "auto", heartbeat_seconds: float = 10, join_seconds: float = 300) -> Iterator[None]:
    """Within, this process is one of those that the launcher started; alone it changes nothing.

    Args:
      distributed: "auto": where the environment says so; "on": an error where it does not, and jax detects nothing
        either; "off": never.
      heartbeat_seconds: after so long without a sign from one process the others abort.
      join_seconds: how long to wait for all to arrive.

    Raises:
      ValueError: the environment contradicts itself, or "on" and nothing is found.

    Where not all processes arrive in time, jax aborts this one (134).
    """
    found = membership() if distributed != "off" else None
    if found is None and distributed != "on":
        yield
        return
    who = {} if found is None else dict(zip(("coordinator_address", "num_processes", "process_id"), found, strict=True))
    if found:  # where one does not come, jax ends this process without another word
        said = f"process {found.index} of {found.count} joins at {found.address}, for at most {join_seconds:g} s"
        print(said, file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            **who,
            cluster_detection_method="deactivate" if found else None,
            initialization_timeout=int(join_seconds),
            heartbeat_timeout_seconds=max(1, int(heartbeat_seconds)),
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except ValueError as error:
        raise ValueError(
            f"distributed=on, and no launcher was found ({error}): set {ADDRESS}, {COUNT}, {INDEX}"
        ) from None
    if jax.process_count() == 1:
        yield
        return
    try:
        yield
    except SystemExit as stop:
        if stop.code != REQUEUE:
            leave(stop.code)
        jax.distributed.shutdown()
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        leave(1)
    jax.distributed.shutdown()


def leave(status: Any) -> None:
    """End now where there are several processes: an orderly end would wait for the others; alone, do nothing."""
    if jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def is_first() -> bool:
    """Whether this is process 0, the one that writes and prints."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Return when all processes are here; at once where there is one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def agree(here: bool) -> bool:
    """Whether all processes say so; all must ask."""
    if jax.process_count() == 1:
        return here
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(here))))


def on_host(tree: Any) -> Any:
    """Arrays that one process can read whole: as they are where there is one, else gathered leaf by leaf."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def whole(leaf: jax.Array) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = multihost_utils.process_allgather(jax.random.key_data(leaf), tiled=True)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def same(value: int | None) -> int | None:
    """Process 0's value, on all; all must ask."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    told = int(multihost_utils.broadcast_one_to_all(np.asarray(-1 if value is None else value, np.int32)))
    return None if told < 0 else told
