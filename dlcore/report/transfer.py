"""What a network's parts bought when they learned one after the other, as panels of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.optim.partial import Part
from dlcore.report.panel import Panel
from dlcore.report.tables import table

__all__ = ["bought"]


def bought(history: Sequence[Mapping[str, Any]], parts: Sequence[Part], metric: str = "accuracy") -> Panel:
    """Show the validation metric at the end of each phase, and what the phase added.

    Args:
      history: rows as in metrics.jsonl.
      parts: parts that learn, each from its start on.
      metric: value on the validation split; larger is better.

    Returns:
      The panel: a row a phase, from one start to the next.
    """
    rows = [row for row in history if row.get("split") == "valid" and metric in row]
    last = max((row["step"] for row in history), default=0)
    starts = sorted({part.start for part in parts})
    shown, before = [], None
    for start, end in zip(starts, [*starts[1:], 1.0], strict=True):
        inside = [row for row in rows if start * last < row["step"] <= end * last]
        value = inside[-1][metric] if inside else None
        learning = ", ".join(f"{part.pattern} x {part.rate:g}" for part in parts if part.start <= start and part.rate)
        shown.append(
            {
                "what learns": learning,
                "steps": f"{round(start * last)} to {round(end * last)}",
                f"validation {metric}": "" if value is None else f"{100 * value:.1f} %",
                "gain": "" if None in (value, before) else f"{100 * (value - before):+.1f}",
            }
        )
        before = before if value is None else value
    note = "At the last evaluation of each phase. A phase that adds nothing need not run."
    return table(shown, "What each phase bought", note)
