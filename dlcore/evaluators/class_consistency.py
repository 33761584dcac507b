"""Class consistency: the fraction of samples that a classifier assigns to the requested class."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.choices import check_choice
from dlcore.learner import Evaluator
from dlcore.metrics.classification import class_predictions
from dlcore.ops.checks import check_class_ids, check_shapes

__all__ = ["class_consistency"]


def class_consistency(
    probabilities: Callable[[np.ndarray], np.ndarray], source: Any, name: str = "sample", label: str = "label"
) -> Evaluator:
    """Build the evaluator of the fraction of samples whose most probable class is the requested one.

    Args:
      probabilities: images -> class probabilities [B, K].
      source: source with the requested classes.
      name: name of the images among the outputs of `predict`.
      label: name of the classes in the source.

    Returns:
      The evaluator of `class_consistency`.
    """

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_choice("name", name, outputs)
        p = np.asarray(probabilities(outputs[name]))
        check_shapes(probabilities=(p, "B K"), **{label: (rows[label], "B")})
        check_class_ids(label, rows[label], p.shape[1])
        return [*(acc or []), class_predictions(p) == rows[label]]

    return Evaluator(
        add, lambda acc: {"class_consistency": float(np.concatenate(acc).mean())}, source, ("class_consistency",)
    )
