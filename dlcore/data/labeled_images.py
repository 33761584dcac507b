"""Labeled images as flags describe them, by the records of `dlcore.data.images`."""

import dataclasses
from typing import Any

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.setting import part_settings

__all__ = [
    "SETTINGS",
    "augmentation",
    "check_zoom",
    "data",
    "images_of",
    "is_augmented",
    "preparation",
    "prepared_images",
    "preprocess",
    "training_versions",
]

SETTINGS = part_settings(Images(resizing=Resizing(), augmentation=Augmentation()))
"""The flags of labeled images."""


def check_zoom(zoom: tuple[float, float] | None) -> None:
    """Check the range of `--zoom`.

    Args:
      zoom: the least and the greatest factor; None for the default.
    """
    if zoom is not None and zoom[0] > zoom[1]:
        raise ValueError(f"zoom={zoom[0]:g},{zoom[1]:g}: no range; allowed: the least factor, then the greatest")


def _given(record: type, flags: Any) -> dict[str, Any]:
    return {field.name: flags[field.name] for field in dataclasses.fields(record) if field.name in flags}


def _resized_images(flags: Any) -> Images:
    return Images(resizing=Resizing(**_given(Resizing, flags)) if "input_size" in flags else None)


def prepared_images(flags: Any) -> Images:
    """Read from the flags how images are resized and augmented; without `augment` it is `auto`."""
    return dataclasses.replace(_resized_images(flags), augmentation=Augmentation(**_given(Augmentation, flags)))


def images_of(flags: Any, labels: bool = True) -> Images:
    """Read the record of the images from the flags.

    Args:
      labels: whether the experiment needs labels.
    """
    return dataclasses.replace(prepared_images(flags), **_given(Images, flags), labels=labels)


def _facts(flags: Any, spec: dict) -> Facts:
    return Facts.of({**spec, "dataset": flags.get("dataset", spec.get("dataset"))})


def data(flags: Any, labels: bool = True) -> Splits:
    """Load the splits by name, see `dlcore.data.images.Images.load`.

    Args:
      labels: whether the experiment needs labels; if not, a folder of images needs no class folders.
    """
    images = images_of(flags, labels)
    if "augment" not in flags:  # streamed images are cropped by the technique
        images = dataclasses.replace(images, augmentation=None)
    return images.load(flags.seed, 1 if flags.get("run") else 2)


def preprocess(run: Any):
    """Build the function from the data's images to the model's input.

    Returns:
      Images [B, H, W, C], uint8 or float in [0, 1] -> normalized floats.
    """
    return _resized_images(run.flags).preprocess(_facts(run.flags, run.spec), run.dtype)


def augmentation(flags: Any, spec: dict):
    """Build the augmentation that `--augment` names.

    Args:
      flags: resolved settings; without `augment`, that of `auto`.

    Returns:
      `(key, normalized image) -> image`; None for none.
    """
    return prepared_images(flags).augment(_facts(flags, spec))


def is_augmented(flags: Any, spec: dict) -> bool:
    """Return whether training images are augmented or mixed.

    Returns:
      True where images are augmented or mixed.
    """
    mixed = any(flags.get(name, 0) for name in ("mixup_alpha", "cutmix_alpha"))
    return mixed or prepared_images(flags).is_augmented(_facts(flags, spec))


def preparation(flags: Any, spec: dict) -> str:
    """Describe the preprocessing and augmentation of training images."""
    mix_names = [k for k in ("mixup", "cutmix") if flags.get(f"{k}_alpha", 0)]
    mixing = f", then mixed in pairs ({' and '.join(mix_names)}, not shown)" if mix_names else ""
    return f"{prepared_images(flags).preparation(_facts(flags, spec))}{mixing}."


def training_versions(flags: Any, spec: dict, train: Source, idx: np.ndarray, count: int) -> np.ndarray:
    """Sample augmented training images, without the normalization, see `Images.training_versions`.

    Args:
      train: the training split.
      idx: [N] int, indices of its images.
      count: augmentations of each image.

    Returns:
      [count, N, H, W, C] in [0, 1].
    """
    return prepared_images(flags).training_versions(_facts(flags, spec), train, idx, count, flags.seed)
