"""Record the versions, commit, devices and hardware of a run."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["command", "commit", "devices", "hardware", "process_seconds", "sources", "versions"]

IMPORTED = time.monotonic()
PACKAGES = ("dlcore", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Read the versions of Python and of the packages that results depend on.

    Returns:
      package -> version, of those that are installed.
    """
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


@functools.cache
def commit() -> str | None:
    """Read the git commit of the checkout that this code runs from.

    Returns:
      The hash, with "+" where tracked files differ; None outside a checkout.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("+" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def sources() -> dict[str, str]:
    """Digest the code that this process runs: the imported modules of dlcore and experiments, and the main program.

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
      Such as "2 CPU cores (AMD EPYC)" or "8 x NVIDIA H100".
    """
    facts = devices()
    if facts["platform"] != "cpu":
        return f"{facts['count']} x {facts['kind']}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores ({_cpu()})"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def process_seconds() -> float:
    """Measure the age of this process.

    Returns:
      Seconds since it began, imports included.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, IndexError, ValueError):
        return time.monotonic() - IMPORTED


def command() -> str:
    """Reconstruct the command line of this process.

    Returns:
      Text for a shell, such as "python -m experiments.classification.supervised --seed=1".
    """
    if Path(sys.argv[0]).name == "dlcore" and sys.argv[1:2] == ["run"]:
        return shlex.join(["python", "-m", f"experiments.{sys.argv[2].removeprefix('experiments.')}", *sys.argv[3:]])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec is not None else ["python", Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])
