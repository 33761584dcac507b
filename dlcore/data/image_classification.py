"""Image classification data by name: scikit-learn's digits, a folder of images, or a prepared TFDS data set."""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.digits import digits
from dlcore.data.folder import folder_splits
from dlcore.data.source import Source, split_validation
from dlcore.data.streaming import Workers
from dlcore.data.tfds_source import prepared_datasets, tfds_source, tfds_splits

__all__ = ["DATASETS", "Splits", "check_labels", "load"]

DATASETS = ("digits", "folder", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")
_TEST_FRACTION = 0.2


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
    limit_bytes: int = 4 * 2**30,
    workers: Workers | None = None,
) -> Splits:
    """Load a data set.

    name: "digits" (embedded), "folder" (images in `data_dir`, one folder a class) or a TFDS name prepared in
        `data_dir`.
    seed, valid_fraction: of the validation split carved from train where the data set has none of its own.
    image_size, skip_bad: for "folder"; see `folder_splits`. The size is that of streamed TFDS images too.
    limit_bytes, workers: what takes more, a split of TFDS or a folder, stays on disk and is decoded by the workers (one
        thread a core where there are none); the notes say so.

    Without a test split the validation split is the test split; with neither, a fifth of the data is. Validation is
    carved from train wherever the data set has none left. All by seed, and in the notes.

    Raises: ValueError for an unknown name, a missing data_dir or labels out of range; FileNotFoundError for data that
    is not there.
    """
    notes: tuple[str, ...] = ()
    if name == "digits":
        train, valid = split_validation(digits("train"), valid_fraction, seed)
        return _checked(train, valid, digits("test"))
    workers = Workers() if workers is None else workers
    if name == "folder":
        sources = _from_folder(data_dir, image_size, skip_bad, limit_bytes, workers)
    else:
        sources = _from_tfds(name, data_dir, image_size=image_size, limit_bytes=limit_bytes, workers=workers)
    if len(sources) == 1:
        (whole,) = sources.values()
        train, test = split_validation(whole, _TEST_FRACTION, seed)
        sources = {"train": train, "test": replace(test, name=f"{whole.name} (test)")}
        notes += (f"no test split: {len(test)} examples were set aside for it by seed {seed}",)
    elif "train" not in sources:
        raise ValueError(f"dataset {name!r} has no train split, only {sorted(sources)}")
    elif "test" not in sources:
        sources["test"] = sources.pop("valid")
        notes += ("no test split: the validation split takes its place, and validation is carved from train",)
    if "valid" not in sources:
        sources["train"], sources["valid"] = split_validation(sources["train"], valid_fraction, seed)
    return _checked(sources["train"], sources["valid"], sources["test"], notes)


def check_labels(source: Source, num_classes: int) -> None:
    """Raise a ValueError that names the first label outside [0, num_classes) and where it stands."""
    label = np.asarray(source.arrays["label"])
    bad = np.flatnonzero((label < 0) | (label >= num_classes))
    if bad.size:
        raise ValueError(
            f"label {label[bad[0]]} of example {bad[0]} in {source.name!r} is outside [0, {num_classes}) "
            f"({bad.size} such labels)"
        )


def _from_folder(
    data_dir: str | Path | None,
    image_size: int | tuple[int, int] | None,
    skip_bad: bool,
    limit_bytes: int,
    workers: Workers,
) -> dict[str, Source]:
    if data_dir is None:
        raise ValueError("dataset 'folder' needs data_dir: a folder (or .zip) with one folder of images a class")
    return folder_splits(data_dir, image_size, skip_bad=skip_bad, limit_bytes=limit_bytes, workers=workers)


def _from_tfds(name: str, data_dir: str | Path | None, **options: Any) -> dict[str, Source]:
    there = prepared_datasets(data_dir) if data_dir is not None else ()
    if name not in there and name.split("/")[0] not in (known := {*DATASETS, *there, *_tfds_names()}):
        close = difflib.get_close_matches(name, sorted(known))
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known are {', '.join(DATASETS)}, ..."
        raise ValueError(f"dataset is {name!r}, which is no data set of TFDS and none of ours; {hint}")
    if data_dir is None:
        raise ValueError(f"dataset {name!r} needs data_dir: the folder in which TFDS prepared it")
    names = {"train": "train", "valid": "validation", "test": "test"}
    splits = tfds_splits(name, data_dir)
    if len(splits) == 1:
        return {"all": tfds_source(name, splits[0], data_dir, **options)}
    return {ours: tfds_source(name, theirs, data_dir, **options) for ours, theirs in names.items() if theirs in splits}


def _tfds_names() -> list[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _checked(train: Source, valid: Source, test: Source, notes: tuple[str, ...] = ()) -> Splits:
    for source in (train, valid, test):
        check_labels(source, len(train.class_names))
    shapes = {source.name: source.arrays["image"].shape[1:] for source in (train, valid, test)}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"the splits have images of several shapes, {shapes}; image_size gives them one")
    notes = tuple(dict.fromkeys(notes + train.notes + valid.notes + test.notes))
    return Splits(train, valid, test, train.class_names, train.arrays["image"].shape[1:], notes)
