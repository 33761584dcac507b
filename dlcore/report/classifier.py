"""Panels of an image classifier: mistakes, confusions, calibration, best and worst of each class, filters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.report.class_images import best_and_worst
from dlcore.report.classification import confusion_matrix, reliability_diagram, worst_mistakes
from dlcore.report.filters import filters, first_kernel
from dlcore.report.panel import Panel

__all__ = ["classifier_panels"]


def classifier_panels(
    measures: Mapping[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    params: Any,
    about: str = "",
) -> list[Panel]:
    """Show a classifier's mistakes, confusion matrix, calibration, examples by class, and first-layer filters.

    Args:
      measures: numbers and arrays by name; `confusion` and `calibration/...` are shown if they exist.
      images: [N, H, W, C], uint8 or float in [0, 1].
      labels: [N] int, the true classes.
      probabilities: [N, K], the predicted probabilities.
      class_names: K names.
      params: parameters of the model.
      about: a sentence on what the loss and the calibration can reach; see `smoothing_sentence`.

    Returns:
      The panels; those without numbers are left out.
    """
    calibration = {k.removeprefix("calibration/"): v for k, v in measures.items() if k.startswith("calibration/")}
    confusion, kernel = measures.get("confusion"), first_kernel(params)
    return [
        worst_mistakes(images, labels, probabilities, class_names),
        *([] if confusion is None else [confusion_matrix(confusion, class_names)]),
        *([reliability_diagram(calibration, "Calibration", about)] if calibration else []),
        best_and_worst(images, labels, probabilities, class_names),
        *([] if kernel is None else [filters(kernel)]),
    ]
