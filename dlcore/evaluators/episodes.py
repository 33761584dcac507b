"""Few-shot accuracy for other numbers of ways and shots than those of training."""

from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.metrics.interval import HalfInterval

__all__ = ["episode_accuracy"]


def episode_accuracy(source: Any) -> Evaluator:
    """Measure how many queries of an episode get their class, on average over the episodes.

    Args:
      source: source from `dlcore.data.episodes.episodes`, with supports; `predict` gives `logits: [B, W Q, W]`, where
        query i is of class i // Q.

    Returns:
      An evaluator of `accuracy_WwaySshot`, and of `interval_WwaySshot`, half of its 95 % interval.
    """
    way, shot = source.arrays["support"].shape[1:3]
    names = (f"accuracy_{way}way{shot}shot", f"interval_{way}way{shot}shot")

    def add(acc: list | None, outputs: Any, rows: Any) -> list:
        label = np.arange(way).repeat(rows["query"].shape[2])
        return [*(acc or []), *(np.asarray(outputs["logits"]).argmax(-1) == label).mean(1)]

    def finish(acc: list) -> dict[str, float | None]:
        return dict(zip(names, (float(np.mean(acc)), HalfInterval.of(np.asarray(acc)).compute()), strict=True))

    return Evaluator(add, finish, source, names)
