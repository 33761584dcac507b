"""Show progress: a live bar on a terminal, otherwise a plain line at log steps."""

import math
import sys
import time

import jax

from dlcore.activity import note_output, show_live

__all__ = ["Progress", "duration", "say"]

FIRST_METRICS = ("loss", "accuracy", "return")
MIN_BAR_WIDTH, CLOCKS_WIDTH = 6, 26
"""Least width of the bar in columns, and the width of the clocks, "eta" and the spaces between parts."""


def say(text: str) -> None:
    """Print a line in process 0.

    Args:
      text: the line.
    """
    if jax.process_index() == 0:
        print(text, flush=True)
        note_output()


def duration(seconds: float) -> str:
    """Format seconds as 0:49 or 2:03:09.

    Args:
      seconds: duration in seconds, at least 0.

    Returns:
      Minutes and seconds, with hours from one hour on.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds={seconds}: no duration; allowed: finite numbers, at least 0")
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """The progress of one run.

    Args:
      total: number of steps of the run.
      start: number of steps already done.
      enabled: False shows nothing.
      description: text before the bar.
    """

    def __init__(self, total: int, start: int = 0, *, enabled: bool = True, description: str = "train"):
        self.total, self.start, self.enabled = total, start, enabled
        self._began = time.monotonic()
        self._bar = None
        if enabled and sys.stdout.isatty():
            self._bar = self._rich(description)

    def _rich(self, description: str):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        def column(columns: int) -> Column:  # otherwise rich shrinks it in favor of the bar
            return Column(no_wrap=True, min_width=columns)

        digits = len(str(self.total))
        progress_bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=column(2 * digits + 1)),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(table_column=column(7)),
            TextColumn("eta"),
            TimeRemainingColumn(table_column=column(8)),
            refresh_per_second=4,
            expand=True,
        )
        self._room = progress_bar.console.width - len(description) - 2 * digits - MIN_BAR_WIDTH - CLOCKS_WIDTH
        self._task = progress_bar.add_task(description, total=self.total, completed=self.start, numbers="")
        progress_bar.start()
        show_live(True)
        return progress_bar

    def advance(self, step: int) -> None:
        """Advance the bar, which redraws itself four times per second.

        Args:
          step: number of steps done.
        """
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def log(self, row: dict) -> None:
        """Show the numbers of a log row.

        Args:
          row: row with `step` and `split`.
        """
        if not self.enabled:
            return
        numbers = self._numbers(row)
        if self._bar is not None:
            if row["split"] == "train":
                fitting = self._numbers(row, max(self._room, 0))
                self._bar.update(self._task, completed=row["step"], numbers=fitting)
            else:
                self._bar.console.print(f"step {row['step']}/{self.total} {row['split']:5} {numbers}", highlight=False)
            return
        rate = (row["step"] - self.start) / max(1e-9, time.monotonic() - self._began)
        eta = duration((self.total - row["step"]) / rate) if rate else "?"
        tail = f" eta {eta}" if row["split"] == "train" else ""
        say(f"step {row['step']}/{self.total} {row['split']:5} {numbers}{tail}")

    @staticmethod
    def _numbers(row: dict, width: int | None = None) -> str:
        """Format the numbers; with limited width only the first ones, at least the loss."""
        skip = {"step", "split", "epoch", "seconds", "examples_per_second", "learning_rate"}
        names = [n for n in row if n not in skip and "/" not in n and isinstance(row[n], float | int)]
        names = [n for n in FIRST_METRICS if n in names] + [n for n in names if n not in FIRST_METRICS]
        parts = [f"{name} {row[name]:.4g}" for name in names[:4]]
        if rate := row.get("examples_per_second"):
            parts.append(f"{rate:,.0f} examples/s")
        while width is not None and len(parts) > 1 and len(" ".join(parts)) > width:
            parts.pop()
        return " ".join(parts)

    def close(self) -> None:
        """Draw the last state and release the terminal."""
        if self._bar is not None:
            self._bar.stop()
            show_live(False)
