"""Class consistency: how many samples a classifier takes for the class that was asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.learner import Evaluator

__all__ = ["class_consistency"]


def class_consistency(
    probabilities: Callable[[np.ndarray], np.ndarray], source: Any, name: str = "sample", label: str = "label"
) -> Evaluator:
    """Measure the share of samples whose most probable class is the one that was asked for.

    Args:
      probabilities: images -> class probabilities [B, K].
      source: source with the requested classes.
      name: name of the images among the outputs of `predict`.
      label: name of the classes in the source.

    Returns:
      The evaluator of `class_consistency`.
    """

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        return [*(acc or []), probabilities(outputs[name]).argmax(1) == rows[label]]

    return Evaluator(
        add, lambda acc: {"class_consistency": float(np.concatenate(acc).mean())}, source, ("class_consistency",)
    )
