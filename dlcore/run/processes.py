"""Join several processes into one program by `jax.distributed`, from the environment of a launcher or scheduler.

The rank of this process comes from the first of these that is set:

    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID     host:port of process 0, number, index
    SLURM_STEP_NUM_TASKS > 1, SLURM_PROCID, SLURM_STEP_NODELIST    a step of srun; the port depends on the job id
    with --distributed=on and neither: jax's own detection (TPU pods, Open MPI)

Each process takes all devices that CUDA_VISIBLE_DEVICES or srun's --gpus-per-task leave visible; if jax itself detects
Slurm it takes one device per process. A process with an error exits at once with its own status: waiting for the others
would abort all of them and lose the status. The others notice the missing heartbeat and abort with 134, without running
any more Python, so that the last checkpoint remains; one that waits for the others in a barrier or a sum notices
earlier and leaves with 134, too.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.run.preemption import REQUEUE

__all__ = ["Membership", "agree", "barrier", "is_first", "join_processes", "leave", "membership", "on_host", "same"]

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
PEER_LOST = 134
"""Exit status where another process is gone, that of JAX's own abort."""
PEER_ERRORS = ("ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "Gloo", "heartbeat")
"""Words of JAX's errors by which a collective or a barrier fails without the others."""
SHUTDOWN_SECONDS = 3600
"""Seconds that the others wait at the end for process 0, which writes the report; a crash is noticed earlier."""


class Membership(NamedTuple):
    """The rank of this process.

    Args:
      address: "host:port" of process 0.
      count: number of processes.
      index: index of this process, in [0, count).
    """

    address: str
    count: int
    index: int


def membership(environ: Mapping[str, str] = os.environ) -> Membership | None:
    """Read the rank of this process from the environment.

    Args:
      environ: environment variables.

    Returns:
      The rank; None if the variables are not set or there is one process.
    """
    if environ.get(ADDRESS) and (COUNT in environ or INDEX in environ):
        rank = Membership(environ[ADDRESS], _number(environ, COUNT), _number(environ, INDEX))
    elif environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        count, index = _number(environ, "SLURM_STEP_NUM_TASKS"), _number(environ, "SLURM_PROCID")
        rank = Membership(environ.get(ADDRESS) or _slurm_address(environ), count, index)
    else:
        return None
    if ":" not in rank.address:
        raise ValueError(f"{ADDRESS}={rank.address}: no port; allowed: host:port")
    if not 0 <= rank.index < rank.count:
        raise ValueError(f"{INDEX}={rank.index}: out of range; allowed: [0, {rank.count})")
    return rank if rank.count > 1 else None


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except KeyError:
        raise ValueError(f"{name} is not set, and this process is one of several; allowed: an integer") from None
    except ValueError:
        raise ValueError(f"{name}={environ[name]}: not a number; allowed: an integer") from None


def _slurm_address(environ: Mapping[str, str]) -> str:
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
    try:
        process = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        host = process.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        raise ValueError(
            f"SLURM_STEP_NODELIST={nodes!r}: scontrol does not name its hosts; allowed: set {ADDRESS}=host:port"
        ) from None
    return f"{host}:{61440 + _number(environ, 'SLURM_JOB_ID') % 4096}"


@contextlib.contextmanager
def join_processes(
    distributed: str = "auto", heartbeat_seconds: float = 10, join_seconds: float = 300
) -> Iterator[None]:
    """Connect this process with the others of the launcher, inside the context; a single process changes nothing.

    Args:
      distributed: "auto" joins if the environment has a rank; "on" fails if neither the environment nor jax has one;
        "off" never joins.
      heartbeat_seconds: seconds without a heartbeat of one process after which the others abort.
      join_seconds: seconds to wait for all processes.

    Yields:
      None.

    If not all processes arrive in time, jax aborts this one (134).
    """
    rank = membership() if distributed != "off" else None
    if rank is None and distributed != "on":
        yield
        return
    if rank:  # if one does not arrive, jax aborts this process without a message
        message = f"process {rank.index} of {rank.count} joins at {rank.address}, for at most {join_seconds:g} s"
        print(message, file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            coordinator_address=rank and rank.address,
            num_processes=rank and rank.count,
            process_id=rank and rank.index,
            cluster_detection_method="deactivate" if rank else None,
            initialization_timeout=int(join_seconds),
            heartbeat_timeout_seconds=max(1, int(heartbeat_seconds)),
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except ValueError as error:
        raise ValueError(
            f"distributed='on': no launcher detected ({error}); allowed: set {ADDRESS}, {COUNT}, {INDEX}"
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
    except BaseException as error:
        if _has_lost_peer(error):
            reason = str(error).strip().split("\n")[0][:200]
            print(f"another process of the run is gone ({reason}); the same command resumes", file=sys.stderr)
            leave(PEER_LOST)
        sys.excepthook(type(error), error, error.__traceback__)
        leave(1)
    jax.distributed.shutdown()


def _has_lost_peer(error: BaseException) -> bool:
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in PEER_ERRORS)


def leave(status: Any) -> None:
    """Exit at once if there are several processes, since an orderly exit would wait for the others.

    Args:
      status: exit status; 1 if it is no int. A single process does nothing.
    """
    if jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def is_first() -> bool:
    """Return whether this is process 0, which writes and prints.

    Returns:
      True for process 0, also of a single process.
    """
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait for all processes.

    Args:
      name: name of the barrier, the same on all processes.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def agree(condition: bool) -> bool:
    """Return whether a condition holds on all processes, all of which must call it.

    Args:
      condition: whether it holds on this process.

    Returns:
      The same value on all processes.
    """
    if jax.process_count() == 1:
        return condition
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(condition))))


def on_host(tree: Any) -> Any:
    """Gather global arrays on the host of every process.

    Args:
      tree: pytree of global arrays; all processes must call it.

    Returns:
      The pytree, gathered leaf by leaf.
    """
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def gathered(leaf: jax.Array) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = multihost_utils.process_allgather(jax.random.key_data(leaf), tiled=True)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(gathered, tree)


def same(value: int | None) -> int | None:
    """Broadcast a number from process 0; all processes must call it.

    Args:
      value: value, at least 0, or None; that of the other processes is ignored.

    Returns:
      Process 0's value.
    """
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    received = int(multihost_utils.broadcast_one_to_all(np.asarray(-1 if value is None else value, np.int32)))
    return None if received < 0 else received
