"""What unlabeled images gain, as panels of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.report.panel import Panel
from dlcore.report.tables import table

__all__ = ["noisy_table", "pseudo_label_table", "twin_table"]


def twin_table(numbers: Mapping[str, float | None]) -> Panel:
    """Show the accuracy of a technique beside that of its supervised baseline.

    Args:
      numbers: metrics of the test split, with `accuracy`, `accuracy_supervised` and `gain`.

    Returns:
      The panel.
    """
    rows = [
        {"learned from": "labeled and unlabeled images", "test accuracy": _percent(numbers.get("accuracy"))},
        {"learned from": "labeled images alone", "test accuracy": _percent(numbers.get("accuracy_supervised"))},
        {"learned from": "difference", "test accuracy": _percent(numbers.get("gain"), sign=True)},
    ]
    note = "The twin has the same network, initial weights, labels, weak views and steps."
    return table(rows, "What the unlabeled images bought", note)


def noisy_table(numbers: Mapping[str, float | None]) -> Panel:
    """Show the accuracy of a technique that bears wrong labels beside that of cross-entropy, to the end and stopped.

    Args:
      numbers: metrics of the test split, with `accuracy`, `accuracy_cross_entropy` and `accuracy_early_stopped`.

    Returns:
      The panel.
    """
    rows = [
        {"learned by": "the technique", "test accuracy": _percent(numbers.get("accuracy"))},
        {"learned by": "cross-entropy, to the end", "test accuracy": _percent(numbers.get("accuracy_cross_entropy"))},
        {
            "learned by": "cross-entropy, stopped early",
            "test accuracy": _percent(numbers.get("accuracy_early_stopped")),
        },
    ]
    note = (
        "From the same noisy labels, with the same network, initial weights and batches. The third is the second where "
        "it knew the validation split best, by true labels."
    )
    return table(rows, "What bears wrong labels", note)


def pseudo_label_table(history: Sequence[Mapping[str, Any]], count: int = 6) -> list[Panel]:
    """Show how many pseudo-labels were accepted over the run, and how many of these were wrong.

    Args:
      history: rows as in metrics.jsonl.
      count: rows to show.

    Returns:
      One panel; none of a technique without pseudo-labels.
    """
    rows = [row for row in history if row.get("split") == "train" and "mask_rate" in row]
    if not rows:
        return []
    places = sorted({round(k * (len(rows) - 1) / max(count - 1, 1)) for k in range(count)})
    shown = [
        {
            "step": f"{rows[k]['step']:,}",
            "accepted": _percent(rows[k]["mask_rate"]),
            "wrong among them": _percent(rows[k].get("impurity")),
        }
        for k in places
    ]
    note = (
        "Of the unlabeled images since the row before. The truth of an unlabeled image is used here and nowhere else: "
        "two classes that are confidently swapped show early."
    )
    return [table(shown, "Pseudo-labels", note)]


def _percent(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{100 * value:{'+' if sign else ''}.1f} %"
