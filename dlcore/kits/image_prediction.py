"""What `--mode=predict` asks of experiments that map an image to a class: the images to predict, and a description."""

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.experiment.flags import Flags

__all__ = ["describe", "inputs"]


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


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """Read the images under `--input` at the size of the training images.

    Args:
      flags: `input`, a file or a folder.
      spec: of the data.

    Returns:
      (source, paths).
    """
    from dlcore.data.decoding import load_center_crop, load_image
    from dlcore.data.image_folder import list_images
    from dlcore.data.source import Source

    height, width, channels = spec["image_shape"]
    paths = list_images(Path(flags.input))
    if "crop_pct" in spec:
        images = np.stack([load_center_crop(path, (height, width), channels, spec["crop_pct"]) for path in paths])
    else:
        images = np.stack([load_image(path, (height, width), channels) for path in paths])
    return Source({"image": images, "label": np.zeros(len(paths), np.int32)}, len(paths)), [str(p) for p in paths]
