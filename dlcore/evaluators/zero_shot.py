"""Zero-shot classification: an image gets the class with the nearest text embedding, without labeled images.

Radford et al. 2021, arXiv:2103.00020: a class vector is the normalized mean over its prompts.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.choices import check_choice
from dlcore.learner import Evaluator
from dlcore.metrics.classification import class_predictions
from dlcore.ops.checks import check_class_ids

__all__ = ["zero_shot"]


def zero_shot(
    source: Any, class_vectors: Callable[[Any], np.ndarray], *, key: str = "clip", name: str = "zero_shot"
) -> Evaluator:
    """Build the evaluator of the accuracy of the nearest class vector.

    Args:
      source: images with `label`; `predict` runs over them.
      class_vectors: State -> [K, D], one vector per class.
      key: name of the images' vectors [B, D] among the outputs of `predict`.
      name: name of the metric.

    Returns:
      The evaluator of the accuracy.
    """

    def start(state: Any) -> tuple[np.ndarray, list, list]:
        return np.asarray(class_vectors(state), np.float32), [], []

    def add(acc: tuple, outputs: Any, rows: Any) -> tuple:
        vectors, predictions, targets = acc
        check_choice("key", key, outputs)
        check_class_ids("label", rows["label"], len(vectors))
        predictions.append(class_predictions(np.asarray(outputs[key], np.float32) @ vectors.T))
        targets.append(np.asarray(rows["label"]))
        return acc

    def finish(acc: tuple) -> dict[str, float]:
        return {name: float((np.concatenate(acc[1]) == np.concatenate(acc[2])).mean())}

    return Evaluator(add, finish, source, (name,), start)
