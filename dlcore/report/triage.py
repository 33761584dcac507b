"""What the learning curves say about a run, as a panel."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.diagnostics.triage import triage
from dlcore.report.panel import Panel
from dlcore.report.tables import text

__all__ = ["triage_panel"]


def triage_panel(history: Sequence[Mapping[str, Any]], title: str = "What the curves say") -> Panel:
    """Show the sentences of `dlcore.diagnostics.triage.triage`, a paragraph each.

    Args:
      history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}.
      title: of the panel.

    Returns:
      The panel.
    """
    return text(title, "\n\n".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in triage(history)))
