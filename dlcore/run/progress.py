"""Show progress: a live bar on a terminal, a plain line at log steps elsewhere."""

import sys
import time

import jax

__all__ = ["Progress", "duration", "say"]

SHOWN = ("loss", "accuracy", "return")
LEAST_BAR, CLOCKS = 6, 26
"""Columns of the bar at least, and of what else stands beside description, steps and numbers: two clocks, "eta", the
bar of "12/99", and a space after each part."""


def say(text: str) -> None:
    """Print a line; of several processes the first one prints.

    Args:
      text: the line.
    """
    if jax.process_index() == 0:
        print(text, flush=True)


def duration(seconds: float) -> str:
    """Format seconds as 0:49 or 2:03:09.

    Args:
      seconds: duration in seconds, at least 0.

    Returns:
      Minutes and seconds, with hours from one hour on.
    """
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """The progress of one phase.

    Args:
      total: steps of the phase.
      start: steps already done.
      enabled: False shows nothing.
      description: text before the bar.
    """

    def __init__(self, total: int, start: int = 0, *, enabled: bool = True, description: str = "train"):
        self.total, self.start, self.enabled = total, start, enabled
        self._began = self._drawn = time.monotonic()
        self._bar = None
        if enabled and sys.stdout.isatty():
            self._bar = self._rich(description)

    def _rich(self, description: str):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        def whole(columns: int) -> Column:  # else rich takes its room for the bar
            return Column(no_wrap=True, min_width=columns)

        digits = len(str(self.total))
        progress_bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=whole(2 * digits + 1)),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(table_column=whole(7)),
            TextColumn("eta"),
            TimeRemainingColumn(table_column=whole(8)),
            refresh_per_second=4,
            expand=True,
        )
        self._room = progress_bar.console.width - len(description) - 2 * digits - LEAST_BAR - CLOCKS
        self._task = progress_bar.add_task(description, total=self.total, completed=self.start, numbers="")
        progress_bar.start()
        return progress_bar

    def advance(self, step: int) -> None:
        """Move the bar, at most ten times a second.

        Args:
          step: steps done.
        """
        if self._bar is not None and (now := time.monotonic()) - self._drawn > 0.1:
            self._drawn = now
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
        """The numbers as text; in little room the first ones, and the loss in any case."""
        skip = {"step", "split", "epoch", "seconds", "examples_per_second", "learning_rate"}
        names = [n for n in row if n not in skip and "/" not in n and isinstance(row[n], float | int)]
        names = [n for n in SHOWN if n in names] + [n for n in names if n not in SHOWN]
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
