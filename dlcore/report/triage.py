"""What the learning curves say about a run, as a panel."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.diagnostics.triage import triage
from dlcore.report.panel import Panel
from dlcore.report.tables import text

__all__ = ["FEWEST_STEPS", "triage_panels"]

FEWEST_STEPS = 100
"""Training steps below which curves are no ground for advice."""


def triage_panels(
    history: Sequence[Mapping[str, Any]],
    floor: float | None = 0.0,
    augmented: bool = False,
    title: str = "What the curves say",
) -> list[Panel]:
    """Show the sentences of `dlcore.diagnostics.triage.triage`, a paragraph each; no advice before FEWEST_STEPS.

    Args:
      history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}.
      floor: the least value that the training loss can have; None where it is not known.
      augmented: whether the training accuracy is of augmented images.
      title: title of the panel.

    Returns:
      The panel; none where the curves say nothing.
    """
    steps = max((row["step"] for row in history if row.get("split") == "train" and "step" in row), default=0)
    sentences = triage(history, floor, augmented)
    if sentences and steps < FEWEST_STEPS:
        return [text(title, f"{steps} step{'s' if steps > 1 else ''}: too few to say.")]
    body = "\n\n".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    return [text(title, body)] if sentences else []
