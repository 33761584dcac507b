"""Inputs and descriptions of image classifiers for `--mode=predict`."""

import collections
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from dlcore.data.decoding import load_center_crop, load_image, stretch_image
from dlcore.data.facts import Facts
from dlcore.data.image_folder import list_images
from dlcore.data.source import Source
from dlcore.data.workers import unreadable

__all__ = ["ClassifyImages", "describe", "images_under", "read_all", "stretched_images", "unique_stems"]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe each image by its `class` and the `probabilities: [N, C]` by class name, the most probable first.

    Args:
      outputs: outputs of the learner's `predict`.

    Returns:
      One dict per image.
    """
    rows = []
    for probabilities in outputs["probabilities"]:
        order = np.argsort(-probabilities, kind="stable")
        ranked = {spec["class_names"][i]: float(probabilities[i]) for i in order}
        rows.append({"class": next(iter(ranked)), "probabilities": ranked})
    return rows


def images_under(path: str, facts: Facts, skip_bad: bool | None) -> tuple[Any, list[str]]:
    """Read the images under a path at the size of the training images.

    Args:
      path: a file or a folder.
      facts: facts of the training images.
      skip_bad: leave out files that cannot be read, and log how many; None if there is no such flag.

    Returns:
      (source, paths).
    """
    height, width, channels = facts.image_shape

    def read(path: Path) -> np.ndarray:
        if facts.crop_pct is not None:
            return load_center_crop(path, (height, width), channels, facts.crop_pct)
        return load_image(path, (height, width), channels)

    images, paths = read_all(list_images(Path(path)), read, skip_bad)
    return Source({"image": images, "label": np.zeros(len(paths), np.int32)}, len(paths)), [str(p) for p in paths]


class ClassifyImages:
    """Use of a classifier: `--mode=predict --input=FILE_OR_FOLDER` says the classes of images."""

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read the images under a path."""
        return images_under(path, run.facts, run.parts.data.skip_bad)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each image by its class and the probabilities of all."""
        return describe(outputs, {"class_names": list(facts.class_names)})


def stretched_images(path: str, facts: Facts, own_size: bool = False) -> tuple[Any, list[str]]:
    """Read the images under a path, stretched to the size of the training images; other files are ignored.

    Args:
      path: a file or a folder.
      facts: facts of the training images.
      own_size: keep the images' size, which must be the same for all.

    Returns:
      (source, paths).

    Raises:
      ValueError: files cannot be read, or sizes differ under `own_size`; the message names them.
    """

    def read(path: Path) -> np.ndarray:
        return load_image(path) if own_size else stretch_image(load_image(path), facts.image_shape[:2])

    images, paths = read_all(list_images(Path(path)), read, None)
    return Source({"image": images}, len(paths)), [str(p) for p in paths]


def read_all(
    paths: list[Path], read: Callable[[Path], np.ndarray], skip_bad: bool | None
) -> tuple[np.ndarray, list[Path]]:
    """Read image files of one shape.

    Args:
      paths: paths of the files.
      read: path -> image [H, W, C].
      skip_bad: leave out files that cannot be read, and log how many; None if the experiment has no such flag.

    Returns:
      (images [N, H, W, C], their paths).
    """
    images, good, bad = [], [], []
    for path in paths:
        try:
            images.append(read(path))
            good.append(path)
        except ValueError as error:
            bad.append((str(path), error.__cause__ or error))
    if bad and (not skip_bad or not good):
        raise ValueError(unreadable(bad, skip_bad is False))
    if bad:
        logging.warning("%d of %d files could not be read and were left out", len(bad), len(paths))
    for path, image in zip(good, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{path} has {image.shape[0]} by {image.shape[1]} pixels, {good[0]} {images[0].shape[0]} by "
                f"{images[0].shape[1]}; allowed: images of one size"
            )
    return np.stack(images), good


def unique_stems(names: Sequence[str]) -> list[str]:
    """Compute output names: the stems of the files, numbered where several folders hold the same name.

    Args:
      names: paths of the files.

    Returns:
      The stems, all different if the paths are.
    """
    stems = [Path(name).stem for name in names]
    taken = {stem for stem, count in collections.Counter(stems).items() if count == 1}
    unique = []
    for i, stem in enumerate(stems):
        if stem not in taken:
            stem = next(name for k in itertools.count(i) if (name := f"{stem}_{k}") not in taken)
            taken.add(stem)
        unique.append(stem)
    return unique
