"""Few-shot accuracy for other ways and shots than in training."""

from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.metrics.classification import class_predictions
from dlcore.metrics.interval import HalfInterval

__all__ = ["episode_accuracy"]


def episode_accuracy(source: Any) -> Evaluator:
    """Build the evaluator of the mean accuracy over episodes.

    Args:
      source: source from `dlcore.data.episodes.episodes`, with supports; `predict` returns `logits: [B, W Q, W]`; query
        i has class i // Q.

    Returns:
      The evaluator of `accuracy_WwaySshot` and of `interval_WwaySshot`, half the width of its 95 % interval.
    """
    way, shot = source.arrays["support"].shape[1:3]
    names = (f"accuracy_{way}way{shot}shot", f"interval_{way}way{shot}shot")

    def add(acc: list | None, outputs: Any, rows: Any) -> list:
        label = np.arange(way).repeat(rows["query"].shape[2])
        return [*(acc or []), *(class_predictions(np.asarray(outputs["logits"])) == label).mean(1)]

    def finish(acc: list) -> dict[str, float | None]:
        return dict(zip(names, (float(np.mean(acc)), HalfInterval.of(np.asarray(acc)).compute()), strict=True))

    return Evaluator(add, finish, source, names)
