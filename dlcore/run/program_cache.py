"""Keep compiled programs between runs, in the user's cache folder: the second run of a command starts sooner.

Programs that call oneDNN (`dlcore.ops.cpu.onednn`) cannot be saved and are compiled by each run; training is as fast as
without the folder. Who names a folder of jax's (JAX_COMPILATION_CACHE_DIR) has all programs saved there, and without
oneDNN; JAX_ENABLE_COMPILATION_CACHE=false saves none.
"""

import contextlib
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["program_folder", "use_program_cache"]

LEAST_SECONDS = 0.05
"""Programs that compile in less are not saved: reading them takes as long."""
MOST_BYTES = 2**30
"""What the folder may hold when a run starts; the oldest programs go."""


def program_folder() -> Path:
    """Name the folder of this machine's programs, below $XDG_CACHE_HOME or ~/.cache.

    Returns:
      The path; processors of other instruction sets and other versions of jaxlib have folders of their own.
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
    """Have jax save programs in `program_folder()`, and read them from there.

    Nothing changes where jax has a folder already, where its cache is switched off, or where the folder cannot be
    written.
    """
    import jax

    from dlcore.ops.cpu import onednn

    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    if onednn.has_onednn() and not onednn.leave_out_of_cache():
        return
    with contextlib.suppress(OSError, RuntimeError):  # a read-only or missing home
        folder = program_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        _prune(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def _prune(folder: Path) -> None:
    """Remove the oldest files until MOST_BYTES are left."""
    files = sorted((status.st_mtime, status.st_size, path) for path in folder.iterdir() if (status := path.stat()))
    excess = sum(size for _, size, _ in files) - MOST_BYTES
    for _, size, path in files:
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size
