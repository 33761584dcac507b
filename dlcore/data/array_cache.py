"""Cache decoded arrays in files under `$XDG_CACHE_HOME/dlcore` (or `~/.cache/dlcore`) for the next run."""

import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

__all__ = ["cache_file", "read_cache", "write_cache"]


def cache_file(folder: Path, split: str) -> Path:
    """Return the path of the cache file of one split of a folder of records.

    Args:
      folder: folder with the records; a change of its files' names, sizes or times changes the path.
      split: name of the split.

    Returns:
      Path of the file, which need not exist.
    """
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    key = hashlib.sha256(json.dumps([1, str(folder.resolve()), split, files]).encode()).hexdigest()[:24]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "dlcore" / f"tfds-{key}.npz"


def read_cache(path: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]] | None:
    """Read a file that `write_cache` wrote.

    Args:
      path: path of the file.

    Returns:
      (class names, arrays by name); None where the file does not exist or is damaged.
    """
    try:
        with np.load(path) as saved:
            arrays = {key: saved[key] for key in saved.files}
        return tuple(arrays.pop("class_names").tolist()), arrays
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def write_cache(path: Path, class_names: tuple[str, ...], arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to a file by an atomic rename, so that no other process reads a part of it.

    Errors of the file system, such as a full disk, are ignored.

    Args:
      path: path of the file.
      class_names: names of the classes, in the order of the labels; may be empty.
      arrays: arrays by name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                np.savez(file, class_names=np.array(class_names), **arrays)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError:
        return
