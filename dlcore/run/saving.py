"""Decide when to save, track the best validation metric, and manage the checkpoints of one call of fit."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.run.checkpoint import Checkpoints
from dlcore.run.json_files import read_json, write_json
from dlcore.run.processes import is_first, same
from dlcore.run.step import Carry

__all__ = ["Saver", "Saving"]


@dataclass(frozen=True)
class Saving:
    """When to save, and which checkpoints to keep.

    Args:
      seconds: longest time between two checkpoints; 0 sets no limit.
      steps: largest number of steps between two checkpoints; 0 sets no limit.
      keep_last: number of newest checkpoints to keep.
      monitor: validation metric whose best checkpoint is kept too; None keeps none.
      mode: whether the largest ("max") or the smallest ("min") value of `monitor` is the best.
      grace_seconds: time that SIGTERM and Ctrl-C leave for a step to end, and again for the checkpoint to be written;
        then the process ends.

    Raises:
      ValueError: a number or a word is none of these.
    """

    seconds: float = 60.0
    steps: int = 0
    keep_last: int = 2
    monitor: str | None = None
    mode: str = "max"
    grace_seconds: float = 60.0

    def __post_init__(self):
        check_whole_number("saving.keep_last", self.keep_last, 1)
        check_whole_number("saving.steps", self.steps)
        seconds = {"seconds": self.seconds, "grace_seconds": self.grace_seconds}
        check_shapes(**{f"saving.{name}": (value, "finite") for name, value in seconds.items()})
        for name, value in {"steps": self.steps, **seconds}.items():
            if value < 0:
                raise ValueError(f"saving.{name}={value}: negative; allowed: at least 0")
        check_choice("saving.mode", self.mode, ("max", "min"))
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise ValueError(f"saving.monitor={self.monitor!r}: no name; allowed: the name of a metric, or None")


class Saver:
    """The checkpoints of one call of fit; without a folder nothing is saved.

    Args:
      saving: when to save, and which checkpoints to keep.
      folder: folder of the run; None saves nothing.
    """

    def __init__(self, saving: Saving, folder: Path | None):
        self.saving, self.folder = saving, folder
        self.best: float | None = None
        self.store: Checkpoints | None = None
        if folder is not None:
            self.store = Checkpoints(folder / "checkpoints", keep_last=saving.keep_last, mode=saving.mode)
        self._saved_step: int | None = None
        self._saved_at = time.monotonic()

    def restore(self, abstract: Carry) -> tuple[int, Carry, dict] | None:
        """Read the newest checkpoint.

        Args:
          abstract: shapes, dtypes and shardings of the carry.

        Returns:
          (step, carry, metadata), or None if there is no checkpoint.
        """
        return None if self.store is None else self.store.restore(abstract)

    def start(self, step: int) -> None:
        """Start the clock of the next checkpoint.

        Args:
          step: restored step; 0 if training begins.
        """
        self._saved_step, self._saved_at = step or None, time.monotonic()

    def due(self, step: int, at_log: bool) -> bool:
        """Return whether a checkpoint is due, the same on all processes.

        Args:
          step: number of steps done.
          at_log: whether this step is logged; several processes synchronize their clocks at those steps only.

        Returns:
          Whether to save now.
        """
        if self.saving.steps and step % self.saving.steps == 0:
            return True
        if not self.saving.seconds or self.store is None:
            return False
        if jax.process_count() == 1:
            return self._is_late()
        if not at_log:
            return False
        from jax.experimental import multihost_utils

        return bool(multihost_utils.broadcast_one_to_all(np.asarray(self._is_late())))

    def _is_late(self) -> bool:
        return time.monotonic() - self._saved_at >= self.saving.seconds

    def score(self, measures: Mapping[str, float | None]) -> float | None:
        """Return the monitored metric if it is at least as good as the best so far, and update the best.

        Args:
          measures: validation metrics by name.

        Returns:
          The score to save with the checkpoint; None without a monitor, or if it is not the best.
        """
        monitor = self.saving.monitor
        if monitor is None:
            return None
        if monitor not in measures:
            raise ValueError(f"monitor={monitor!r}: not a validation metric; allowed: {', '.join(measures)}")
        score = measures[monitor]
        sign = 1 if self.saving.mode == "max" else -1
        if score is None or (self.best is not None and sign * score < sign * self.best):
            return None
        self.best = score
        return score

    def save(self, step: int, carry: Carry, note: dict[str, Any], score: float | None) -> None:
        """Start to save, unless this step is saved already.

        Args:
          step: number of steps done.
          carry: carry in its global shape.
          note: JSON-able facts for resuming, besides the best score.
          score: result of `score`.
        """
        if self.store is None or step == self._saved_step:
            return
        self.store.check()
        self.store.save(step, carry, {**note, "best": self.best}, score)
        self._saved_step, self._saved_at = step, time.monotonic()

    def wait(self) -> None:
        """Wait for the running save."""
        if self.store is not None:
            self.store.wait()

    def finished_save(self) -> int | None:
        """Return the newest step that this call has saved and that is on disk for certain.

        Returns:
          The step; None if there is none.
        """
        return None if self.store is None else self.store.finished_save

    def step_on_disk(self) -> int | None:
        """Return the step that a resume would begin with.

        Returns:
          The newest step in the folder, without waiting for a save that runs; None if there is none.
        """
        paths = () if self.store is None else self.store.folder.glob("*")
        return max((int(path.name) for path in paths if path.name.isdigit()), default=None)

    def best_step(self) -> int | None:
        """Find the best checkpoint.

        Returns:
          Its step; None if no checkpoint has a score.
        """
        return None if self.store is None else same(self.store.best_step())

    def finished_step(self) -> int | None:
        """Read `finished.json`.

        Returns:
          The last step of the finished run; None if it has not finished.

        Raises:
          ValueError: the file is damaged.
        """
        path = self.folder and self.folder / "finished.json"
        return read_json(path, ["step"])["step"] if path and path.exists() else None

    def write_finished(self, step: int, stopped: bool) -> None:
        """Mark the run as finished after the last checkpoint is on disk.

        Args:
          step: the last step.
          stopped: whether a hook ended the run early.
        """
        if self.store is None or self.folder is None:
            return
        self.store.wait()
        if self.store.failure is None and is_first():
            write_json(self.folder / "finished.json", {"step": step, "stopped": stopped})

    def close(self) -> None:
        """Wait for the running save, and close the folder."""
        if self.store is not None:
            self.store.close()
