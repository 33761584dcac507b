"""Runs that are written without training."""

from pathlib import Path
from typing import Any

from dlcore.run.checkpoint import Checkpoints

__all__ = ["save_state"]


def save_state(folder: Path, state: Any, step: int = 1) -> None:
    """Write a checkpoint to a run's folder."""
    store = Checkpoints(folder / "checkpoints")
    store.save(step, {"state": state}, {})
    store.close()
