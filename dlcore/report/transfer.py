"""Report panel of the gain of each phase when parts of a network are trained one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.optim.partial import Part
from dlcore.report.panel import Panel
from dlcore.report.tables import table

__all__ = ["phase_gains"]


def phase_gains(history: Sequence[Mapping[str, Any]], parts: Sequence[Part], metric: str = "accuracy") -> list[Panel]:
    """Show the validation metric at the end of each phase, and its gain.

    Args:
      history: rows as in metrics.jsonl.
      parts: parts that learn, each from its start on.
      metric: value on the validation split; larger is better.

    Returns:
      One panel with a row per phase; none where no phase has a gain, as with a single one.
    """
    rows = [row for row in history if row.get("split") == "valid" and metric in row]
    last = max((row["step"] for row in history), default=0)
    starts = sorted({part.start for part in parts})
    table_rows, before = [], None
    for start, end in zip(starts, [*starts[1:], 1.0], strict=True):
        phase_rows = [row for row in rows if start * last < row["step"] <= end * last]
        value = phase_rows[-1][metric] if phase_rows else None
        learning = ", ".join(f"{part.pattern} x {part.rate:g}" for part in parts if part.start <= start and part.rate)
        table_rows.append(
            {
                "trained parts": learning,
                "steps": f"{round(start * last)} to {round(end * last)}",
                f"validation {metric}": "" if value is None else f"{100 * value:.1f} %",
                "gain": "" if None in (value, before) else f"{100 * (value - before):+.1f}",
            }
        )
        before = before if value is None else value
    subtitle = "At the last evaluation of each phase. A phase that adds nothing need not run."
    has_gain = any(row["gain"] for row in table_rows)
    return [table(table_rows, "Gain of each phase", subtitle)] if has_gain else []
