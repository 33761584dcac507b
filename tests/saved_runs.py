"""Runs that are written without training."""

from pathlib import Path
from typing import Any

from dlcore.run.checkpoint import Checkpoints

__all__ = ["save_state"]


def save_state(folder: Path, state: Any) -> None:
    """Write a checkpoint of step 1, to a run's folder."""
    store = Checkpoints(folder / "checkpoints")
    store.save(1, {"state": state}, {})
    store.close()
