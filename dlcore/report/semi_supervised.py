"""Report panels of semi-supervised learning and of learning with label noise."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.choices import check_whole_number
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
    subtitle = "The supervised baseline has the same network, initial weights, labels, weak views and steps."
    return table(rows, "Gain by unlabeled images", subtitle)


def noisy_table(numbers: Mapping[str, float | None]) -> Panel:
    """Show the accuracy of a technique for noisy labels beside that of cross-entropy, with and without early stopping.

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
    subtitle = (
        "Same noisy labels, network, initial weights and batches. Early stopping uses the validation accuracy on true "
        "labels."
    )
    return table(rows, "Learning with noisy labels", subtitle)


def pseudo_label_table(history: Sequence[Mapping[str, Any]], count: int = 6) -> list[Panel]:
    """Show how many pseudo-labels were accepted over the run, and how many of these were wrong.

    Args:
      history: rows as in metrics.jsonl.
      count: number of rows.

    Returns:
      One panel; none for a technique without pseudo-labels.
    """
    check_whole_number("count", count, 1)
    rows = [row for row in history if row.get("split") == "train" and "mask_rate" in row]
    if not rows:
        return []
    idx = sorted({round(k * (len(rows) - 1) / max(count - 1, 1)) for k in range(count)})
    table_rows = [
        {
            "step": f"{rows[k]['step']:,}",
            "accepted": _percent(rows[k]["mask_rate"]),
            "wrong among them": _percent(rows[k].get("impurity")),
        }
        for k in idx
    ]
    subtitle = (
        "Of the unlabeled images since the previous row. True labels of unlabeled images are used here only: two "
        "swapped classes show early."
    )
    return [table(table_rows, "Pseudo-labels", subtitle)]


def _percent(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{100 * value:{'+' if sign else ''}.1f} %"
