"""What the report of an experiment that maps an image to a class shows."""

from typing import Any

import jax
import numpy as np

__all__ = ["PLAIN", "first_kernel", "panels", "pictures"]

PLAIN = {
    "augment": "none",
    "label_smoothing": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "l2": 0.0,
    "weight_decay": 0.0,
    "ema": None,
    "model.dropout": 0.0,
    "model.input_dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.aux_dropout": 0.0,
    "model.drop_path": 0.0,
}
"""What switches regularization and augmentation of a classifier off: `Experiment.plain`."""


def panels(context: Any) -> list:
    """Show the curves, the confusion matrix, the worst mistakes, the calibration, and first-layer filters.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.report.classification import confusion_matrix, reliability_diagram, worst_mistakes
    from dlcore.report.curves import curves
    from dlcore.report.filters import filters

    names, test = context.spec["class_names"], context.data.test.arrays
    numbers = {**context.numbers, **context.arrays}
    calibration = {k.removeprefix("calibration/"): v for k, v in numbers.items() if k.startswith("calibration/")}
    confusion, kernel = numbers.get("confusion"), first_kernel(context.state.params)
    return [
        curves(context.history),
        *([] if confusion is None else [confusion_matrix(confusion, names)]),
        worst_mistakes(test["image"], test["label"], context.outputs["probabilities"], names),
        *([reliability_diagram(calibration)] if calibration else []),
        *([] if kernel is None else [filters(kernel)]),
    ]


def pictures(context: Any) -> dict[str, np.ndarray]:
    """Show first-layer filters and the most confident mistakes in TensorBoard.

    Args:
      context: the ReportContext.

    Returns:
      {name: image [H, W, C]}, of those that there are.
    """
    from dlcore.report.filters import filter_grid
    from dlcore.report.pictures import to_uint8

    images = {}
    kernel = first_kernel(context.state.params)
    if kernel is not None:
        images["first_layer_filters"] = filter_grid(kernel, scale=8)[..., :3]
    test, probabilities = context.data.test.arrays, context.outputs["probabilities"]
    wrong = np.flatnonzero(probabilities.argmax(-1) != test["label"])
    worst = wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:16]
    if len(worst):
        images["worst_mistakes"] = np.concatenate(list(to_uint8(test["image"][worst])), axis=1)
    return images


def first_kernel(params: Any) -> np.ndarray | None:
    """Find the kernel of the first convolution.

    Args:
      params: of a model.

    Returns:
      [h, w, C_in, C_out], of the fewest input channels; None where there is no convolution larger than 1x1.
    """
    kernels = [x for x in jax.tree.leaves(params) if x.ndim == 4 and x.shape[0] > 1]
    return np.asarray(min(kernels, key=lambda k: k.shape[2])) if kernels else None
