"""Data sets that are known without being there, for `--mode=plan`: their classes, shapes and sizes."""

from typing import Any

import numpy as np

from dlcore.run.flags import Flags

__all__ = ["KNOWN", "planned"]

KNOWN = {
    "imagenet2012": (1000, (224, 224, 3), 1_281_167),
    "cifar10": (10, (32, 32, 3), 45_000),
    "cifar100": (100, (32, 32, 3), 45_000),
    "mnist": (10, (28, 28, 1), 54_000),
    "fashion_mnist": (10, (28, 28, 1), 54_000),
}
"""Classes, shape of an 8-bit image and training examples (nine tenths where validation is carved from them)."""


def planned(flags: Flags) -> tuple[dict, Any] | None:
    """(spec, a batch of one) of a page of `dlcore.run.classify`; None for a data set that is not in KNOWN."""
    if flags.dataset not in KNOWN:
        return None
    classes, shape, size = KNOWN[flags.dataset]
    channels = shape[-1]
    spec = {
        "dataset": flags.dataset, "class_names": [str(i) for i in range(classes)], "num_classes": classes,
        "image_shape": list(shape), "mean": [0.5] * channels, "std": [0.25] * channels, "train_size": size,
    }  # fmt: skip
    zero = np.zeros(1, np.int32)
    return spec, {"image": np.zeros((1, *shape), np.uint8), "label": zero, "index": zero}
