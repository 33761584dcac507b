"""Trivial baselines of a measure: the most frequent class, the mean training image, no detection.

A run's report shows them beside its metrics.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.source import Source

__all__ = ["Trivial", "baseline", "trivial_measures"]

MOST_IMAGES = 2000
"""Largest number of images for the mean image, and of images to compare with it."""

_BASELINES = {
    "accuracy": ("accuracy_supervised", "the same training on the labeled images alone"),
    "target_accuracy": ("source_only_accuracy", "the same training without adaptation"),
    "psnr": ("psnr_bicubic", "bicubic interpolation"),
    "gram_loss": ("gram_loss_noise", "the noise that it starts from"),
    "map_l1": ("unchanged_l1", "unchanged images"),
    "shape_iou": ("shuffled_iou", "edges of another image"),
    "object_correctness": ("shuffled_correctness", "the sentence of another image"),
    "return": ("random_return", "random actions"),
    "prior_bits": ("histogram_bits", "codes by their frequencies alone"),
}
"""Headline metric -> (baseline metric of the same run, its description)."""

_NO_DETECTION = {"map", "map50", "map75", "map_small", "map_medium", "map_large", "mask_map"}
"""Metrics that are 0 without detections."""


class Trivial(NamedTuple):
    """Value of a trivial baseline.

    Args:
      value: value of the measure.
      rule: the baseline that reaches it, such as "the most frequent class".
    """

    value: float
    rule: str


def trivial_measures(
    train: Any, test: Any, names: Iterable[str], measured: Mapping[str, Any] = {}
) -> dict[str, Trivial]:
    """Compute the trivial baselines on the test split.

    Args:
      train: the training source, or a dict of sources, of which the first one with labels is used.
      test: the test source, with `label: [N]`, `semantic: [N, H, W]` or `image: [N, H, W, C]`.
      names: names of the run's test measures.
      measured: {measure: (value, rule)} from the data, such as the likelihood of independent pixels; they take
        precedence.

    Returns:
      {measure: trivial baseline}, for measures that have one.
    """
    names, baselines = set(names), {}
    if isinstance(train, Mapping):
        train = next((part for part in train.values() if isinstance(part, Source) and "label" in part.arrays), None)
    if isinstance(train, Source) and isinstance(test, Source):
        baselines |= _of_labels(train, test, names) | _of_maps(train, test, names) | _of_images(train, test, names)
    baselines |= {name: Trivial(0.0, "no detection") for name in names if name in _NO_DETECTION}
    baselines |= {name: Trivial(*pair) for name, pair in measured.items()}
    return {name: trivial for name, trivial in baselines.items() if name in names}


def baseline(headline: str, numbers: Mapping[str, Any], trivial: Mapping[str, Trivial]) -> Trivial | None:
    """Choose the baseline of a run's headline: the untrained network, training without the technique, or a trivial one.

    Args:
      headline: name of the measure.
      numbers: the run's test metrics, and facts of the data.
      trivial: result of `trivial_measures`.

    Returns:
      Value and name of the baseline; None if there is none.
    """
    names_and_rules = [
        (f"{headline}_untrained", "the untrained network"),
        *([_BASELINES[headline]] if headline in _BASELINES else []),
    ]
    candidates = (
        Trivial(float(numbers[name]), rule)
        for name, rule in names_and_rules
        if isinstance(numbers.get(name), int | float)
    )
    return next(candidates, trivial.get(headline))


def _of_labels(train: Source, test: Source, names: set[str]) -> dict[str, Trivial]:
    """Compute the accuracy of the most frequent classes; a pretext task's own accuracy has other classes."""
    train_labels, test_labels = (_integers(source.arrays.get("label"), 1) for source in (train, test))
    if train_labels is None or test_labels is None or not len(train_labels) or not len(test_labels):
        return {}
    if len(np.union1d(train_labels, test_labels)) == 1:  # images without class folders have the label 0
        return {}
    order = np.argsort(-np.bincount(train_labels), kind="stable")
    first = Trivial(float((test_labels == order[0]).mean()), "the most frequent class")
    probes = [n for n in names if n.split("_")[0] in ("knn", "probe", "supervised") or n.startswith("fine_tune_")]
    if probes:
        return dict.fromkeys(probes, first)
    accuracies = [n for n in names if n == "robust_accuracy" or (n.split("_")[0] == "accuracy" and "way" not in n)]
    five = Trivial(float(np.isin(test_labels, order[:5]).mean()), "the five most frequent classes")
    return dict.fromkeys(accuracies, first) | {"top5": five}


def _of_maps(train: Source, test: Source, names: set[str]) -> dict[str, Trivial]:
    """Compute segmentation metrics of the most frequent class everywhere."""
    train_maps, test_maps = (_integers(source.arrays.get("semantic"), 3) for source in (train, test))
    if train_maps is None or test_maps is None or not {"mean_iou", "pixel_accuracy", "accuracy"} & names:
        return {}
    count = len(train.class_names) or int(max(train_maps.max(), test_maps.max())) + 1
    train_maps, test_maps = (
        maps[:MOST_IMAGES][(maps[:MOST_IMAGES] >= 0) & (maps[:MOST_IMAGES] < count)] for maps in (train_maps, test_maps)
    )
    if not len(train_maps) or not len(test_maps):
        return {}
    most_frequent = np.bincount(train_maps, minlength=count).argmax()
    accuracy, rule = float((test_maps == most_frequent).mean()), "the most frequent class everywhere"
    iou = Trivial(accuracy / len(np.union1d(test_maps, [most_frequent])), rule)
    return {"mean_iou": iou, "pixel_accuracy": Trivial(accuracy, rule), "accuracy": Trivial(accuracy, rule)}


def _of_images(train: Source, test: Source, names: set[str]) -> dict[str, Trivial]:
    """Compute reconstruction metrics of the mean training image."""
    train_images, test_images = (source.arrays.get("image") for source in (train, test))
    comparable = all(
        isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 4 and len(x)
        for x in (train_images, test_images)
    )
    if not comparable or train_images.shape[1:] != test_images.shape[1:] or not {"psnr", "mse", "l1"} & names:
        return {}
    difference = test_images[:MOST_IMAGES] / 255 - train_images[:MOST_IMAGES].mean(0) / 255
    squared, rule = np.square(difference).mean((1, 2, 3)), "the mean training image"
    return {
        "psnr": Trivial(float(-10 * np.log10(np.maximum(squared, 1e-12)).mean()), rule),
        "mse": Trivial(float(squared.mean()), rule),
        "l1": Trivial(float(np.abs(difference).mean()), rule),
    }


def _integers(array: Any, rank: int) -> np.ndarray | None:
    is_classes = isinstance(array, np.ndarray) and array.ndim == rank and np.issubdtype(array.dtype, np.integer)
    return array.astype(np.int64) if is_classes else None
