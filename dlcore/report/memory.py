"""The memory of a training step as a panel: a table of its parts, and advice on the largest one."""

from collections.abc import Collection, Mapping

from dlcore.cost.memory import readable
from dlcore.ops.checks import check_counts
from dlcore.report.panel import Panel
from dlcore.report.tables import table

__all__ = ["memory_panel"]

STORED = "stored for the backward pass before XLA's fusion, weights and images included"

_ADVICE = {
    "temporaries": (
        "Most of it is what the step stores for the backward pass. Less: ",
        {
            "batch_size": "a smaller --batch_size",
            "accumulate": "--accumulate",
            "model.remat": "--model.remat=full",
            "precision": "--precision=bf16",
        },
    ),
    "optimizer": ("Most of it is the optimizer's state. Spread over devices: ", {"sharding": "--sharding=fsdp"}),
    "parameters": ("Most of it is parameters. Spread over devices: ", {"sharding": "--sharding=fsdp"}),
}
"""Advice by largest part, and the flags that shrink it."""


def memory_panel(report: Mapping[str, int], flags: Collection[str], residuals: int | None = None) -> Panel:
    """Show a memory report as a table, and the flags that shrink its largest part.

    Args:
      report: bytes by part, result of `dlcore.cost.memory.memory_report`.
      flags: names of the run's flags; no other is advised.
      residuals: bytes that the loss stores for the backward pass (`dlcore.cost.memory.residual_bytes`), shown in a row
        outside of the sum, because the parts already contain what XLA keeps of them; None leaves the row out.

    Returns:
      The panel.
    """
    for name, size in {**report, "residuals": residuals or 0}.items():
        check_counts(name, size)
    total = sum(report.values())
    rows = [
        {"part": name, "size": readable(size), "share": f"{100 * size / total:.1f} %" if total else "–"}
        for name, size in report.items()
        if size
    ]
    if residuals is not None:
        row = {"part": STORED, "size": readable(residuals), "share": ""}
        rows.append(row)
    largest = max(report, key=report.get) if report else ""
    advice, remedies = _ADVICE.get(largest, ("", {}))
    flags_to_try = [words for name, words in remedies.items() if name in flags]
    subtitle = advice + ", ".join(flags_to_try) + "." if flags_to_try else ""
    panel = table(rows, title=f"Memory of a step: {readable(total)}", subtitle=subtitle)
    return panel._replace(half=True)
