"""Files of a folder and members of a .zip: links are followed, and what cannot be read is an error, never left out."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_below", "is_visible", "open_zip", "walk"]

_SYSTEM = "lost+found"
"""Folder at the root of a Linux disk that its owner alone may read."""


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders below a root with their files, each real folder once: by its own path, else by its first link.

    Args:
      root: path of a folder.

    Returns:
      (folder, names of its files), the root first.

    Raises:
      OSError: a folder that is not hidden cannot be read.
    """

    def refuse(error: OSError) -> None:
        below = Path(error.filename).relative_to(root).parts
        if _SYSTEM not in below and is_visible(below):
            raise OSError(f"path={error.filename!r}: cannot be read ({error.strerror}); allowed: readable folders")

    visited_dirs, links = set(), [root]
    while links:
        start = links.pop(0)
        for folder, below, names in os.walk(start, onerror=refuse):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited_dirs:
                below.clear()
                continue
            visited_dirs.add((status.st_dev, status.st_ino))
            below.sort()
            links += [path for path in (Path(folder) / name for name in below) if path.is_symlink()]
            yield Path(folder), names


def files_below(root: Path) -> list[Path]:
    """List the files below a folder, also those that links lead to.

    Args:
      root: path of a folder.

    Returns:
      Paths that begin with `root`, sorted.

    Raises:
      OSError: a folder that is not hidden cannot be read.
    """
    return sorted(folder / name for folder, names in walk(root) for name in names)


def is_visible(parts: tuple[str, ...]) -> bool:
    """Return whether a path is neither hidden nor one of macOS's resource forks.

    Args:
      parts: parts of the path relative to the root of the data set.

    Returns:
      True where no part begins with a dot.
    """
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a .zip file for reading.

    Args:
      path: path of the file.

    Returns:
      The archive.
    """
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"path={str(path)!r}: no .zip, or damaged ({error}); allowed: a whole .zip") from None
