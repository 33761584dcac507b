"""What experiments that map an image to a class show: predictions, report panels, pictures."""

from typing import Any

import jax
import numpy as np

__all__ = ["describe", "first_kernel", "panels", "pictures"]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Class and probabilities, the most probable first."""
    rows = []
    for probabilities in outputs["probabilities"]:
        order = np.argsort(-probabilities, kind="stable")
        ranked = {spec["class_names"][i]: float(probabilities[i]) for i in order}
        rows.append({"class": next(iter(ranked)), "probabilities": ranked})
    return rows


def panels(context: Any) -> list:
    """Curves, confusion matrix, worst mistakes, calibration, first-layer filters."""
    from dlcore.report.classification import confusion_matrix, reliability_diagram, worst_mistakes
    from dlcore.report.curves import curves
    from dlcore.report.filters import filters

    names, source = context.spec["class_names"], context.data.test
    found = [curves(context.history)]
    if context.arrays.get("confusion") is not None:
        found.append(confusion_matrix(context.arrays["confusion"], names))
    images, labels = source.arrays["image"], source.arrays["label"]
    found.append(worst_mistakes(images, labels, context.outputs["probabilities"], names))
    prefix = "calibration/"
    calibration = {
        key.removeprefix(prefix): value
        for key, value in {**context.numbers, **context.arrays}.items()
        if key.startswith(prefix)
    }
    if calibration:
        found.append(reliability_diagram(calibration))
    kernel = first_kernel(context.state.params)
    if kernel is not None:
        found.append(filters(kernel))
    return found


def pictures(context: Any) -> dict[str, np.ndarray]:
    """First-layer filters and the surest mistakes side by side, for TensorBoard."""
    from dlcore.report.filters import filter_grid
    from dlcore.report.pictures import to_uint8

    found = {}
    kernel = first_kernel(context.state.params)
    if kernel is not None:
        found["first_layer_filters"] = filter_grid(kernel, scale=8)[..., :3]
    labels, probabilities = context.data.test.arrays["label"], context.outputs["probabilities"]
    wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:16]
    if len(worst):
        images = to_uint8(context.data.test.arrays["image"][worst])
        found["worst_mistakes"] = np.concatenate(list(images), axis=1)
    return found


def first_kernel(params: Any) -> np.ndarray | None:
    """The first convolution's kernel [h, w, cin, cout]: the 4-D leaf of the fewest input channels; None without one."""
    kernels = [x for x in jax.tree.leaves(params) if x.ndim == 4 and x.shape[0] > 1]
    return np.asarray(min(kernels, key=lambda k: k.shape[2])) if kernels else None
