"""Cache compiled programs in the user's cache folder, so that the second run of a command starts sooner.

JAX_COMPILATION_CACHE_DIR names another folder, and JAX_ENABLE_COMPILATION_CACHE=false disables the cache.
"""

import contextlib
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["program_folder", "use_program_cache"]

MIN_SECONDS = 0.05
"""Programs that compile in less time are not cached: reading them takes as long."""
MAX_BYTES = 2**30
"""Largest size of the folder at the start of a run; the oldest programs are deleted."""


def program_folder() -> Path:
    """Return the folder of this machine's programs, below $XDG_CACHE_HOME or ~/.cache.

    Returns:
      The path; it depends on the processor's instruction sets and the version of jaxlib.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    except OSError:
        facts = [platform.processor(), platform.machine()]
    key = hashlib.sha256("\n".join([version("jaxlib"), *facts]).encode()).hexdigest()[:16]
    return (Path(base) if base else Path.home() / ".cache") / "dlcore" / "programs" / key


def use_program_cache() -> None:
    """Enable jax's compilation cache in `program_folder()`.

    Nothing changes if jax has a cache already, if its cache is disabled, or if the folder cannot be written.
    """
    import jax

    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    with contextlib.suppress(OSError, RuntimeError):  # a read-only or missing home
        folder = program_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        _prune(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)


def _prune(folder: Path) -> None:
    """Delete the oldest files until at most MAX_BYTES remain."""
    files = sorted((status.st_mtime, status.st_size, path) for path in folder.iterdir() if (status := path.stat()))
    excess = sum(size for _, size, _ in files) - MAX_BYTES
    for _, size, path in files:
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size
