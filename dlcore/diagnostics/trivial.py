"""Trivial baselines of a measure: the most frequent class, the mean training image, no detection.

A number says little alone. These stand beside it in the report of a run.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.source import Source

__all__ = ["Trivial", "baseline", "trivial_measures"]

MOST_IMAGES = 2000
"""Images, at most, that the mean image is taken of, and compared with."""

_TWINS = {
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
"""Headline to the measure that stands beside it in the same run, and what that is of."""

_NO_DETECTION = {"map", "map50", "map75", "map_small", "map_medium", "map_large", "mask_map"}
"""Measures that are 0 where nothing is detected."""


class Trivial(NamedTuple):
    """The value of a measure without learning.

    Args:
      value: value of the measure.
      rule: the baseline that reaches it, such as "the most frequent class".
    """

    value: float
    rule: str


def trivial_measures(train: Any, test: Any, names: Iterable[str], known: Mapping[str, Any] = {}) -> dict[str, Trivial]:
    """Compute what predictions without learning reach on the test split.

    Args:
      train: the training source, or a dict of them, of which the one with labels counts.
      test: the test source, with `label: [N]`, `semantic: [N, H, W]` or `image: [N, H, W, C]`.
      names: names of the run's test measures.
      known: {measure: (value, rule)} that the data know, such as the likelihood of independent pixels; they replace
        those computed here.

    Returns:
      {measure: its trivial value}, of those measures for which there is one.
    """
    names, found = set(names), {}
    if isinstance(train, Mapping):
        train = next((part for part in train.values() if isinstance(part, Source) and "label" in part.arrays), None)
    if isinstance(train, Source) and isinstance(test, Source):
        found |= _of_labels(train, test, names) | _of_maps(train, test, names) | _of_images(train, test, names)
    found |= {name: Trivial(0.0, "no detection") for name in names if name in _NO_DETECTION}
    found |= {name: Trivial(*pair) for name, pair in known.items()}
    return {name: trivial for name, trivial in found.items() if name in names}


def baseline(headline: str, numbers: Mapping[str, Any], trivial: Mapping[str, Trivial]) -> Trivial | None:
    """Find what the headline of a run must beat: the untrained network, training without the technique, or no learning.

    Args:
      headline: name of the measure.
      numbers: the run's test measures, and what is known of the data.
      trivial: result of `trivial_measures`.

    Returns:
      Its value and what has it; None where nothing is known.
    """
    twins = [(f"{headline}_untrained", "the untrained network"), *([_TWINS[headline]] if headline in _TWINS else [])]
    found = (Trivial(float(numbers[name]), rule) for name, rule in twins if isinstance(numbers.get(name), int | float))
    return next(found, trivial.get(headline))


def _of_labels(train: Source, test: Source, names: set[str]) -> dict[str, Trivial]:
    """Accuracies of the most frequent classes; a pretext's own, beside k-NN or without labels, is of others."""
    seen, true = (_integers(source.arrays.get("label"), 1) for source in (train, test))
    if seen is None or true is None or not len(seen) or not len(true):
        return {}
    if len(np.union1d(seen, true)) == 1:  # images without class folders, whose labels are all 0
        return {}
    order = np.argsort(-np.bincount(seen), kind="stable")
    first = Trivial(float((true == order[0]).mean()), "the most frequent class")
    judged = [n for n in names if n.split("_")[0] in ("knn", "probe", "supervised") or n.startswith("fine_tune_")]
    if judged:
        return dict.fromkeys(judged, first)
    accuracies = [n for n in names if n == "robust_accuracy" or (n.split("_")[0] == "accuracy" and "way" not in n)]
    five = Trivial(float(np.isin(true, order[:5]).mean()), "the five most frequent classes")
    return dict.fromkeys(accuracies, first) | {"top5": five}


def _of_maps(train: Source, test: Source, names: set[str]) -> dict[str, Trivial]:
    """Segmentation by the most frequent class everywhere."""
    seen, true = (_integers(source.arrays.get("semantic"), 3) for source in (train, test))
    if seen is None or true is None or not {"mean_iou", "pixel_accuracy", "accuracy"} & names:
        return {}
    count = len(train.class_names) or int(max(seen.max(), true.max())) + 1
    seen, true = (maps[:MOST_IMAGES][(maps[:MOST_IMAGES] >= 0) & (maps[:MOST_IMAGES] < count)] for maps in (seen, true))
    if not len(seen) or not len(true):
        return {}
    most = np.bincount(seen, minlength=count).argmax()
    share, rule = float((true == most).mean()), "the most frequent class everywhere"
    iou = Trivial(share / len(np.union1d(true, [most])), rule)
    return {"mean_iou": iou, "pixel_accuracy": Trivial(share, rule), "accuracy": Trivial(share, rule)}


def _of_images(train: Source, test: Source, names: set[str]) -> dict[str, Trivial]:
    """Reconstruction by the mean training image."""
    seen, true = (source.arrays.get("image") for source in (train, test))
    both = all(isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 4 and len(x) for x in (seen, true))
    if not both or seen.shape[1:] != true.shape[1:] or not {"psnr", "mse", "l1"} & names:
        return {}
    difference = true[:MOST_IMAGES] / 255 - seen[:MOST_IMAGES].mean(0) / 255
    squared, rule = np.square(difference).mean((1, 2, 3)), "the mean training image"
    return {
        "psnr": Trivial(float(-10 * np.log10(np.maximum(squared, 1e-12)).mean()), rule),
        "mse": Trivial(float(squared.mean()), rule),
        "l1": Trivial(float(np.abs(difference).mean()), rule),
    }


def _integers(array: Any, rank: int) -> np.ndarray | None:
    is_classes = isinstance(array, np.ndarray) and array.ndim == rank and np.issubdtype(array.dtype, np.integer)
    return array.astype(np.int64) if is_classes else None
