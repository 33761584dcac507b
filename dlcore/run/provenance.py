"""Record the versions, commit, devices and hardware of a run."""

import datetime
import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

__all__ = [
    "changed_files",
    "command",
    "commit",
    "devices",
    "hardware",
    "inner_command",
    "process_seconds",
    "result_facts",
    "sources",
    "versions",
]

IMPORTED = time.monotonic()
_INNER: ContextVar[tuple[str, float] | None] = ContextVar("inner_command", default=None)
"""The command that runs inside this process' command, and its start time."""
PACKAGES = ("dlcore", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Read the versions of Python and of packages that affect results.

    Returns:
      package -> version, for installed packages.
    """
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _git(*args: str) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        ["git", "-C", str(root), "-c", "core.quotepath=off", *args],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout


@functools.cache
def changed_files() -> tuple[str, ...]:
    """List the code files with uncommitted changes.

    Documents and the ledger do not count: no result depends on them.

    Returns:
      Paths below dlcore/ and experiments/ that are modified or untracked, sorted; none outside a checkout.
    """
    folders = ("--", "dlcore", "experiments")
    try:
        names = _git("diff", "--name-only", "HEAD", *folders) + _git(
            "ls-files", "--others", "--exclude-standard", *folders
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(sorted({name for name in names.splitlines() if not name.endswith((".md", ".jsonl"))}))


@functools.cache
def commit() -> str | None:
    """Read the git commit of the checkout that this code runs from.

    Returns:
      The hash, with "+" if there are `changed_files`; None outside a checkout.
    """
    try:
        return _git("rev-parse", "HEAD").strip() + ("+" if changed_files() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def sources() -> dict[str, str]:
    """Compute digests of this process's code: the imported modules of dlcore and experiments, and the main program.

    Returns:
      file -> the first 16 digits of the SHA-256 of its bytes; files of the checkout by their path inside it.
    """
    root = Path(__file__).resolve().parents[2]
    digests = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] in ("dlcore", "experiments", "__main__") and file.endswith(".py"):
            path = Path(file).resolve()
            key = path.relative_to(root) if path.is_relative_to(root) else path
            digests[key.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return digests


def devices() -> dict:
    """Describe the devices.

    Returns:
      Platform, kind and count of the devices, and the number of processes.
    """
    import jax

    all_devices = jax.devices()
    return {
        "platform": all_devices[0].platform,
        "kind": all_devices[0].device_kind,
        "count": len(all_devices),
        "processes": jax.process_count(),
    }


def hardware() -> str:
    """Describe the hardware in one line.

    Returns:
      Text such as "2 CPU cores (AMD EPYC, avx512f)", "8 devices on 2 CPU cores (...)" or "8 x NVIDIA H100". Vector
      instructions are included because programs compiled for others round differently, so that training results differ
      slightly.
    """
    facts = devices()
    if facts["platform"] != "cpu":
        return f"{facts['count']} x {facts['kind']}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    simulated = f"{facts['count']} devices on " if facts["count"] > 1 else ""
    return f"{simulated}{cores} CPU cores ({_cpu()})"


VECTORS = ("avx512f", "avx2", "avx", "asimd")


def _cpu() -> str:
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().split("\n")]
        facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    except OSError:
        facts = {}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    widest = next((name for name in VECTORS if name in flags), None)
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {widest}" if widest else name


@contextmanager
def inner_command(module: str, words: Sequence[str]) -> Iterator[None]:
    """Record the code inside the context as a command of its own, such as the first phase of a page.

    Args:
      module: dotted name of the module, such as experiments.generative.autoencoder_kl.
      words: arguments of its command line.

    Yields:
      Nothing.
    """
    token = _INNER.set((shlex.join(["python", "-m", module, *words]), time.monotonic()))
    try:
        yield
    finally:
        _INNER.reset(token)


def process_seconds() -> float:
    """Measure the running time of this process, or of its inner command.

    Returns:
      Seconds since its start, including imports.
    """
    if inner := _INNER.get():
        return time.monotonic() - inner[1]
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, IndexError, ValueError):
        return time.monotonic() - IMPORTED


def command() -> str:
    """Reconstruct the command line of this process, or of its inner command.

    Returns:
      Text for a shell, such as "python -m experiments.classification.supervised --seed=1".
    """
    if inner := _INNER.get():
        return inner[0]
    if Path(sys.argv[0]).name == "dlcore" and sys.argv[1:2] == ["run"]:
        return shlex.join(["python", "-m", f"experiments.{sys.argv[2].removeprefix('experiments.')}", *sys.argv[3:]])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec is not None else ["python", Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])


def result_facts(smoke: bool) -> dict[str, Any]:
    """Collect the provenance of a ledger line.

    Args:
      smoke: whether it is the result of a smoke run.

    Returns:
      `command`, `hardware`, `versions`, `commit`, `changed_files`, `smoke` and `date`.
    """
    return {
        "command": command(),
        "hardware": hardware(),
        "versions": versions(),
        "commit": commit(),
        "changed_files": list(changed_files()),
        "smoke": smoke,
        "date": datetime.date.today().isoformat(),
    }
