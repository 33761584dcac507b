"""Where the memory of a training step goes, as a panel: a table with shares, and advice on the largest part."""

from collections.abc import Collection, Mapping

from dlcore.cost.memory import readable
from dlcore.report.panel import Panel
from dlcore.report.tables import table

__all__ = ["memory_panel"]

STORED = "stored for the backward pass as the loss is written: weights and images included, before XLA fuses"

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
"""What to say of the largest part, and the flags that make it smaller."""


def memory_panel(report: Mapping[str, int], flags: Collection[str], residuals: int | None = None) -> Panel:
    """Show a memory report as a table with shares, and say what shrinks its largest part.

    Args:
      report: bytes by part, as `dlcore.cost.memory.memory_report` gives them.
      flags: names of those that the run has: no other is advised.
      residuals: bytes that the loss stores for the backward pass (`dlcore.cost.memory.residual_bytes`), shown in a row
        of their own, outside of the sum: weights and images among them are arguments, XLA fuses others away, and what
        is left is in the temporaries; None leaves the row out.

    Returns:
      The panel.
    """
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
    said, remedies = _ADVICE.get(largest, ("", {}))
    shrinks = [words for name, words in remedies.items() if name in flags]
    note = said + ", ".join(shrinks) + "." if shrinks else ""
    panel = table(rows, title=f"Memory of a step: {readable(total)}", note=note)
    return panel._replace(half=True)
