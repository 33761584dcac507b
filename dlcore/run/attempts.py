"""Wall time of a run: the sum over all processes that worked in its folder."""

import time
from pathlib import Path
from typing import Any

from dlcore.run import provenance
from dlcore.run.json_files import read_json, write_json

__all__ = ["wall_seconds"]

ATTEMPTS = "attempts.json"
CLOCKS = 1.0
"""Seconds by which two readings of a process' start may differ."""


def wall_seconds(folder: Path, done: bool = True) -> float:
    """Note in a run's attempts.json how long this process has run, and add the earlier ones.

    A process that was killed counts until its last row of metrics.jsonl.

    Args:
      folder: the run's folder.
      done: whether this process could end here; False at its beginning.

    Returns:
      Seconds from the start of each process, added.
    """
    path, log = folder / ATTEMPTS, folder / "metrics.jsonl"
    seconds = provenance.process_seconds()
    began = time.time() - seconds
    attempts: dict[str, Any] = read_json(path) if path.exists() else {}
    earlier = {start: length for start, length in attempts.items() if abs(float(start) - began) > CLOCKS}
    for start, length in earlier.items():
        if length is None:
            earlier[start] = max(0.0, log.stat().st_mtime - float(start)) if log.exists() else 0.0
    write_json(path, earlier | {f"{began:.2f}": round(seconds, 2) if done else None})
    return sum(earlier.values()) + seconds
