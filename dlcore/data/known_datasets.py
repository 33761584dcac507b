"""Well-known data sets of labeled images, described without loading them, for `--mode=plan`."""

from typing import Any

import numpy as np

__all__ = ["PLANNED", "TRAIN_SIZES", "describe_known_dataset"]

TRAIN_SIZES = {
    "cifar10": 50_000,
    "cifar100": 50_000,
    "digits": 1_297,
    "fashion_mnist": 60_000,
    "imagenet2012": 1_281_167,
    "mnist": 60_000,
}
"""Number of training examples, including the held-out validation examples."""

_SHAPES = {
    "imagenet2012": (1000, (224, 224, 3)),
    "cifar10": (10, (32, 32, 3)),
    "cifar100": (100, (32, 32, 3)),
    "mnist": (10, (28, 28, 1)),
    "fashion_mnist": (10, (28, 28, 1)),
}
PLANNED = {name: (*facts, TRAIN_SIZES[name] * 9 // 10) for name, facts in _SHAPES.items()}
"""Number of classes, shape of an 8-bit image, number of training examples (a tenth is held out for validation)."""


def describe_known_dataset(dataset: str, image_size: int | None = None) -> tuple[dict, Any] | None:
    """Describe a well-known data set without loading it, for `--mode=plan`.

    Args:
      dataset: name of the data set.
      image_size: side of its images; None for their own.

    Returns:
      (spec, a batch of one); None for a data set that is not in PLANNED.
    """
    if dataset not in PLANNED:
        return None
    classes, shape, size = PLANNED[dataset]
    streamed, channels = dataset == "imagenet2012", shape[-1]
    if image_size:
        shape = (image_size, image_size, channels)
    spec = {
        "dataset": dataset,
        "class_names": [str(i) for i in range(classes)],
        "num_classes": classes,
        "image_shape": list(shape),
        "mean": [0.5] * channels,
        "std": [0.25] * channels,
        "train_size": size,
    }
    if streamed:
        spec["crop_pct"] = 0.875
    zero = np.zeros(1, np.int32)
    return spec, {"image": np.zeros((1, *shape), np.uint8), "label": zero, "index": zero}
