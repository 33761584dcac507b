"""What a run was made with: versions, commit, devices, hardware."""

import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["command", "commit", "devices", "hardware", "process_seconds", "versions"]

IMPORTED = time.monotonic()
PACKAGES = ("dlcore", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str | None:
    """The git commit of the checkout that this code runs from, with "+" where tracked files differ; None elsewhere."""
    root = Path(__file__).resolve().parents[2]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("+" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def devices() -> dict:
    """Platform, kind and number of the devices."""
    import jax

    all_devices = jax.devices()
    return {
        "platform": all_devices[0].platform,
        "kind": all_devices[0].device_kind,
        "count": len(all_devices),
        "processes": jax.process_count(),
    }


def hardware() -> str:
    """One line for a ledger: "2 CPU cores (AMD EPYC)" or "8 x NVIDIA H100"."""
    found = devices()
    if found["platform"] != "cpu":
        return f"{found['count']} x {found['kind']}"
    return (
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} CPU cores ({_cpu()})"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def process_seconds() -> float:
    """Seconds since this process began, imports included."""
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, IndexError, ValueError):
        return time.monotonic() - IMPORTED


def command() -> str:
    """The command line of this process, as a person would type it."""
    if Path(sys.argv[0]).name == "dlcore" and sys.argv[1:2] == ["run"]:
        return shlex.join(["python", "-m", f"experiments.{sys.argv[2].removeprefix('experiments.')}", *sys.argv[3:]])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec is not None else ["python", Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])
