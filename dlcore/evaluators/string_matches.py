"""The share of strings that are written without a mistake."""

from typing import Any

import numpy as np

from dlcore.data.splits import Splits
from dlcore.data.words import END
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence import seq2seq
from dlcore.sequence.sequence_pairs import attention_panel, outputs_panel

__all__ = ["StringMatches", "mirrored"]


class StringMatches:
    """Share of the strings that are written without a mistake, and the alignment where symbols repeat the source."""

    metric = "exact_match"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure exact matches and, where each symbol repeats one of the source, the alignment."""
        task = run.parts.data.task
        return [seq2seq.exact_match(), *([] if task == "sort" else [mirrored(task)])]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show outputs, attention, exact matches by length, and curves."""
        from dlcore.report.curves import curves
        from dlcore.report.tables import table

        arrays = context.data.test.arrays
        right, length = seq2seq.matches(context.outputs["tokens"], arrays["target"]), (arrays["source"] > END).sum(1)
        rows = [
            {"symbols": int(n), "strings": int((length == n).sum()), "exact": float(right[length == n].mean())}
            for n in np.unique(length)
        ]
        chance_text = f"A guess is right once in {run.parts.data.vocabulary}^n."
        attention = attention_panel(context, choose=lambda i: length[i] >= min(8, length.max()))
        return [
            outputs_panel(context),
            *([] if attention is None else [attention]),
            table(rows, "Exact matches by length", chance_text),
            curves(context.history),
        ]


def mirrored(task: str) -> Evaluator:
    """Measure the share of the symbols whose largest weight is on the symbol that they repeat.

    Args:
      task: copy or reverse.

    Returns:
      The evaluator of `aligned`; none without attention.
    """

    def add(acc: Any, outputs: dict, rows: dict) -> tuple[int, int]:
        if "alignment" not in outputs:
            return acc or (0, 0)
        length = (rows["source"] > END).sum(1)[:, None]
        step = np.arange(outputs["alignment"].shape[1])
        right = (length - 1 - step) if task == "reverse" else step
        hits = (outputs["alignment"].argmax(-1) == right) & (step < length)
        before = acc or (0, 0)
        return before[0] + int(hits.sum()), before[1] + int(length.sum())

    return Evaluator(add, lambda acc: {"aligned": acc[0] / acc[1]} if acc[1] else {}, names=("aligned",))
