"""Data sets that are known without being there, for `--mode=plan`: their classes, shapes and sizes."""

from typing import Any

import numpy as np

from dlcore.run.flags import Flags

__all__ = ["KNOWN", "planned"]

STREAMED = {"imagenet2012"}
"""Too large for memory: random boxes are cut where images are decoded, to `--image_size` (224)."""

KNOWN = {
    "imagenet2012": (1000, (224, 224, 3), 1_153_050),
    "cifar10": (10, (32, 32, 3), 45_000),
    "cifar100": (100, (32, 32, 3), 45_000),
    "mnist": (10, (28, 28, 1), 54_000),
    "fashion_mnist": (10, (28, 28, 1), 54_000),
}
"""Classes, shape of an 8-bit image and training examples: nine tenths, as validation is carved from them."""


def planned(flags: Flags) -> tuple[dict, Any] | None:
    """(spec, a batch of one) of a page of `dlcore.run.classify`; None for a data set that is not in KNOWN."""
    if flags.dataset not in KNOWN:
        return None
    classes, shape, size = KNOWN[flags.dataset]
    streamed, channels = flags.dataset in STREAMED, shape[-1]
    if streamed and flags.get("image_size"):
        shape = (flags.image_size, flags.image_size, channels)
    spec = {
        "dataset": flags.dataset, "class_names": [str(i) for i in range(classes)], "num_classes": classes,
        "image_shape": list(shape), "mean": [0.5] * channels, "std": [0.25] * channels, "train_size": size,
    }  # fmt: skip
    spec |= {"crop_pct": 0.875} if streamed else {}
    zero = np.zeros(1, np.int32)
    return spec, {"image": np.zeros((1, *shape), np.uint8), "label": zero, "index": zero}
