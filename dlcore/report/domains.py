"""Panels of the features of two domains."""

import numpy as np

from dlcore.report.context import ReportContext

__all__ = ["domain_panels"]


def domain_panels(context: ReportContext) -> list:
    """Show what adaptation brings, the features of both domains, mistakes on the target, and the curves.

    Returns:
      Report panels.
    """
    from dlcore.report.classification import worst_mistakes
    from dlcore.report.curves import curves
    from dlcore.report.self_supervised import domain_plane
    from dlcore.report.tables import table

    numbers, test, names = context.numbers, context.data.test.arrays, context.spec["class_names"]
    rows = [
        {"accuracy, %": text, "": round(100 * numbers[name], 1)}
        for text, name in (
            ("source", "accuracy"),
            (f"target, {context.flags.technique}", "target_accuracy"),
            ("target, no adaptation", "source_only_accuracy"),
        )
    ]
    apart = 100 * numbers["domain_accuracy"]
    message = f"The classifier tells domains apart in {apart:.1f} % (50 %: it knows nothing)."
    logits = context.outputs["logits"]
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    return [
        table(rows, "What the labels of the source bring", message)._replace(half=True),
        domain_plane(context.outputs["source_features"], context.outputs["features"], ("source", "target")),
        worst_mistakes(test["target"], test["target_label"], probabilities, names),
        curves(context.history),
    ]
