"""Image classification data by name: scikit-learn's digits, a folder of images, or a prepared TFDS data set."""

import difflib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.data.digits import digits
from dlcore.data.source import Source, split_validation

__all__ = ["DATASETS", "Splits", "check_labels", "load"]

DATASETS = ("digits", "folder", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")


class Splits(NamedTuple):
    """Train, validation and test sources of one data set.

    image_shape: (H, W, C) of every image. notes: what loading did to the data, a line each.
    """

    train: Source
    valid: Source
    test: Source
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    valid_fraction: float = 0.1,
    image_size: int | tuple[int, int] | None = None,
    skip_bad: bool = False,
) -> Splits:
    """Load a data set.

    name: "digits" (embedded), "folder" (images in `data_dir`, one folder a class) or a TFDS name prepared in
        `data_dir`.
    seed, valid_fraction: of the validation split carved from train where the data set has none of its own.
    image_size, skip_bad: for "folder"; see `folder_splits`.

    Raises: ValueError for an unknown name, a missing data_dir or labels out of range; FileNotFoundError for data that
    is not there.
    """
    if name == "digits":
        train, valid = split_validation(digits("train"), valid_fraction, seed)
        return _checked(train, valid, digits("test"))
    raise ValueError(f"dataset is {name!r}; allowed are {DATASETS}{_close(name)}")


def check_labels(source: Source, num_classes: int) -> None:
    """Raise a ValueError that names the first label outside [0, num_classes) and where it stands."""
    label = np.asarray(source.arrays["label"])
    bad = np.flatnonzero((label < 0) | (label >= num_classes))
    if bad.size:
        raise ValueError(
            f"label {label[bad[0]]} of example {bad[0]} in {source.name!r} is outside [0, {num_classes}) "
            f"({bad.size} such labels)"
        )


def _checked(train: Source, valid: Source, test: Source) -> Splits:
    for source in (train, valid, test):
        check_labels(source, len(train.class_names))
    notes = tuple(dict.fromkeys(train.notes + valid.notes + test.notes))
    return Splits(train, valid, test, train.class_names, train.arrays["image"].shape[1:], notes)


def _close(name: str) -> str:
    found = difflib.get_close_matches(name, DATASETS)
    return f"; did you mean {found[0]!r}?" if found else ""
