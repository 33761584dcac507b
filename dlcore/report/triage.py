"""Advice from the learning curves, as a panel."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.diagnostics.triage import triage
from dlcore.report.panel import Panel
from dlcore.report.tables import text

__all__ = ["FEWEST_STEPS", "triage_panels"]

FEWEST_STEPS = 100
"""Least number of training steps for advice."""


def triage_panels(
    history: Sequence[Mapping[str, Any]],
    floor: float | None = 0.0,
    augmented: bool = False,
    title: str = "What the curves say",
) -> list[Panel]:
    """Show the advice of `dlcore.diagnostics.triage.triage`; none before FEWEST_STEPS.

    Args:
      history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}.
      floor: least possible training loss; None if unknown.
      augmented: whether the training accuracy is measured on augmented images.
      title: title of the panel.

    Returns:
      The panel; none without advice.
    """
    steps = max((row["step"] for row in history if row.get("split") == "train" and "step" in row), default=0)
    sentences = triage(history, floor, augmented)
    if sentences and steps < FEWEST_STEPS:
        return [text(title, f"{steps} step{'s' if steps > 1 else ''}: too few to say.")]
    body = "\n\n".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    return [text(title, body)] if sentences else []
