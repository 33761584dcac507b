"""Report panels of image classifiers."""

import numpy as np

from dlcore.data import labeled_images
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["panels", "pictures", "smoothing_sentences", "training_images"]


def panels(context: ReportContext) -> list[Panel]:
    """Show the curves, training images, confusions, calibration, best and worst by class, mistakes, and filters."""
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves
    from dlcore.report.triage import triage_panels

    names, test = context.spec["class_names"], context.data.test.arrays
    measures, probabilities = {**context.numbers, **context.arrays}, context.outputs["probabilities"]
    # The calibration has a panel of its own.
    history = [{k: v for k, v in row.items() if not k.startswith("calibration/")} for row in context.history]
    about = " ".join(smoothing_sentences(context.flags.get("label_smoothing", 0.0), len(names)))
    return [
        curves(history),
        *triage_panels(context.history, _floor(context), labeled_images.is_augmented(context.flags, context.spec)),
        *training_images(context),
        *classifier_panels(measures, test["image"], test["label"], probabilities, names, context.state.params, about),
    ]


def training_images(context: ReportContext, count: int = 10, versions: int = 6) -> list[Panel]:
    """Show a training image of each class with its augmentations.

    Args:
      count: largest number of images.
      versions: number of augmentations of each image.
    """
    from dlcore.report import class_images

    flags, spec, train = context.flags, context.spec, context.data.train
    labels, names = np.asarray(train.arrays["label"]), spec["class_names"]
    first_idx = [int(np.flatnonzero(labels == k)[0]) for k in np.unique(labels)]
    idx = np.array([first_idx[i] for i in np.linspace(0, len(first_idx) - 1, min(count, len(first_idx))).astype(int)])
    versions_of_each = labeled_images.training_versions(flags, spec, train, idx, versions)
    caption = (
        f"{labeled_images.preparation(flags, spec)} The network gets them normalized by mean and standard deviation."
    )
    class_labels = [names[label] for label in labels[idx]]
    return [class_images.training_images(train.arrays["image"][idx], versions_of_each, class_labels, caption)]


def smoothing_sentences(smoothing: float, classes: int) -> list[str]:
    """Say which loss and which confidence label smoothing leaves to a network that is always right.

    Args:
      smoothing: label smoothing; of 0 there is nothing to say.
      classes: number of classes.

    Returns:
      At most one sentence.
    """
    from dlcore.diagnostics.triage import smoothing_floor

    if not smoothing or classes < 2:
        return []
    gap = smoothing - smoothing / classes
    return [
        f"Label smoothing of {smoothing:g} keeps the loss above {smoothing_floor(smoothing, classes):.2f}, and teaches "
        f"confidences of {100 * (1 - gap):.0f} %: a network that is always right has a calibration error of "
        f"{100 * gap:.0f} %."
    ]


def _floor(context: ReportContext) -> float | None:
    """Compute the least training loss; None if examples are mixed, or a teacher at a temperature sets the targets."""
    from dlcore.diagnostics.triage import smoothing_floor

    flags = context.flags
    if flags.get("mixup_alpha", 0) or flags.get("cutmix_alpha", 0) or "temperature" in flags:
        return None
    return smoothing_floor(flags.get("label_smoothing", 0.0), len(context.spec["class_names"]))


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Show first-layer filters and the most confident mistakes in TensorBoard, where they exist."""
    from dlcore.report.filters import filter_grid, first_kernel
    from dlcore.report.pictures import to_uint8

    result = {}
    kernel = first_kernel(context.state.params)
    if kernel is not None:
        result["first_layer_filters"] = filter_grid(kernel, scale=8)[..., :3]
    test, probabilities = context.data.test.arrays, context.outputs["probabilities"]
    incorrect = np.flatnonzero(probabilities.argmax(-1) != test["label"])
    worst = incorrect[np.argsort(-probabilities[incorrect].max(-1), kind="stable")][:16]
    if len(worst):
        result["worst_mistakes"] = np.concatenate(list(to_uint8(test["image"][worst])), axis=1)
    return result
