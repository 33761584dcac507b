"""One process at a time in a run folder.

The lock is the operating system's (flock), on a file that names its holder. The system releases it when the process
ends, so a killed run leaves no stale lock. A requeued run that starts while the old one still saves (schedulers allow
30 to 60 seconds after SIGTERM) waits for it.
"""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from absl import logging

from dlcore.run.processes import agree, is_first
from dlcore.run.progress import say

__all__ = ["WAIT_SECONDS", "FolderInUse", "lock_folder"]

WAIT_SECONDS = 60.0
"""Seconds to wait for another process to release a folder."""

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class FolderInUse(OSError):
    """Another process works in the run folder."""


@contextlib.contextmanager
def lock_folder(folder: Path | None, name: str = ".lock", wait_seconds: float | None = None) -> Iterator[None]:
    """Lock a folder against other processes; of several processes of one program, process 0 holds the lock.

    Args:
      folder: existing folder; None locks nothing.
      name: name of the lock file.
      wait_seconds: seconds to wait for the holder; None for `WAIT_SECONDS`.

    Yields:
      None.

    Raises:
      FolderInUse: another process kept the lock; the message names it.
    """
    if folder is None:
        yield
        return
    file, problem = None, ""
    if is_first():
        try:
            file = _acquire(folder / name, WAIT_SECONDS if wait_seconds is None else wait_seconds)
        except FolderInUse as error:
            problem = str(error)
    try:
        if not agree(not problem):
            raise FolderInUse(problem or f"{folder} is in use by another process")
        yield
    finally:
        if file is not None:
            file.truncate(0)
            file.close()


def _acquire(path: Path, wait_seconds: float) -> IO[str]:
    """Lock the file and write this process' name into it."""
    file = path.open("a+", encoding="utf-8")
    deadline, announced = time.monotonic() + wait_seconds, False
    while not _try_lock(file, path):
        holder = _holder(path)
        if time.monotonic() >= deadline:
            file.close()
            raise FolderInUse(
                f"{path.parent} is in use by {holder}, for longer than {wait_seconds:g} s; end it, or choose another "
                "folder"
            )
        if not announced:
            say(f"{path.parent} is in use by {holder}: waiting up to {wait_seconds:g} s")
            announced = True
        time.sleep(min(0.2, wait_seconds))
    file.truncate(0)
    json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
    file.flush()
    return file


def _try_lock(file: IO[str], path: Path) -> bool:
    """Try to take the lock; True with a warning if the file system has no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _UNSUPPORTED:
            raise
        logging.warning("%s cannot be locked here (%s): see to it that one process uses it", path.parent, error)
    return True


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
