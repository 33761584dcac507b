"""The share of strings that are read without a mistake."""

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.splits import Splits
from dlcore.evaluators.caption_scores import exact_match
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.report.context import ReportContext
from dlcore.report.described_images import described_strings
from dlcore.report.panel import Panel
from dlcore.vision_language import text_reading

__all__ = ["StringsRead"]


class StringsRead:
    """Share of the strings that are read without a mistake, and the order of the attention."""

    metric = "exact_match"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the strings and the order in which a model with attention reads; CTC is measured by its learner."""
        return [] if run.parts.network.model == "ctc" else [exact_match(), _reading_order()]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show strings beside the true ones, exact match beside CTC, the attention, and the learning curves."""
        from dlcore.report.curves import curves
        from dlcore.report.tables import table
        from dlcore.report.triage import triage_panels
        from dlcore.report.vision_language import attention_strips, sentences

        test, outputs = context.data.test, context.outputs
        rows = described_strings({name: values[:24] for name, values in outputs.items()}, Facts.of(context.spec))
        texts, images = [row["text"] for row in rows], test.arrays["image"][: len(rows)]
        names = {"exact_match": context.flags.model, "ctc_exact_match": "ctc, the same features"}
        scores = [
            {"reader": name, "exact match": f"{100 * context.numbers[key]:.1f} %"}
            for key, name in names.items()
            if key in context.numbers and (key == "exact_match" or context.flags.ctc_weight)
        ]
        references = [[name] for name in test.names[: len(rows)]]
        panels = [sentences(images, texts, references, "Strings", "Of the test images.")]
        panels.append(table(scores, "Exact match", "Share of the test strings that are read without a mistake."))
        if "alignment" in outputs:
            pieces = [row["tokens"] for row in rows[:6]]
            caption = "Bright where the model looked before it named the character."
            panels.append(
                attention_strips(images[:6], pieces, outputs["alignment"][:6], texts[:6], "Attention", caption)
            )
        history = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
        return [*panels, *triage_panels(history, floor=None), curves(history)]


def _reading_order() -> Evaluator:
    """Measure whether the center of attention moves from left to right, as `order`: 1 where it always does."""

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        values = text_reading.reading_order(outputs["tokens"], outputs["alignment"])
        return [*(acc or []), *values[~np.isnan(values)]]

    return Evaluator(add, lambda acc: {"order": float(np.mean(acc))} if acc else {}, None, ("order",))
