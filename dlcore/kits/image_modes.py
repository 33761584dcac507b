"""What `--mode=predict` and `--mode=plan` ask of experiments that map an image to a class."""

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.experiment.flags import Flags

__all__ = ["describe", "inputs", "planned"]

PLANNED = {
    "imagenet2012": (1000, (224, 224, 3), 1_153_050),
    "cifar10": (10, (32, 32, 3), 45_000),
    "cifar100": (100, (32, 32, 3), 45_000),
    "mnist": (10, (28, 28, 1), 54_000),
    "fashion_mnist": (10, (28, 28, 1), 54_000),
}
"""Classes, shape of an 8-bit image and training examples (nine tenths: validation is carved from them)."""


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe predictions for `--mode=predict`.

    Args:
      outputs: with `probabilities: [N, C]`.
      spec: with `class_names`.

    Returns:
      One dict an image: its `class`, and `probabilities` by class name, the most probable first.
    """
    rows = []
    for probabilities in outputs["probabilities"]:
        order = np.argsort(-probabilities, kind="stable")
        ranked = {spec["class_names"][i]: float(probabilities[i]) for i in order}
        rows.append({"class": next(iter(ranked)), "probabilities": ranked})
    return rows


def planned(flags: Flags) -> tuple[dict, Any] | None:
    """Describe a well-known data set without loading it, for `--mode=plan`.

    Args:
      flags: `dataset` and `image_size`.

    Returns:
      (spec, a batch of one); None for a data set that is not in PLANNED.
    """
    if flags.dataset not in PLANNED:
        return None
    classes, shape, size = PLANNED[flags.dataset]
    streamed, channels = flags.dataset == "imagenet2012", shape[-1]
    if streamed and flags.get("image_size"):
        shape = (flags.image_size, flags.image_size, channels)
    spec = {
        "dataset": flags.dataset,
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


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """Read the images under `--input` at the size of the training images.

    Args:
      flags: `input`, a file or a folder.
      spec: of the data.

    Returns:
      (source, paths).
    """
    from dlcore.data.decoding import centre_crop
    from dlcore.data.images import list_images, load_image
    from dlcore.data.source import Source

    height, width, channels = spec["image_shape"]
    paths = list_images(Path(flags.input))
    if "crop_pct" in spec:
        images = np.stack([centre_crop(path, (height, width), channels, spec["crop_pct"]) for path in paths])
    else:
        images = np.stack([load_image(path, (height, width), channels) for path in paths])
    return Source({"image": images, "label": np.zeros(len(paths), np.int32)}, len(paths)), [str(p) for p in paths]
