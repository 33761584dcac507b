"""Image classification data by name: digits and photographs of scikit-learn, a folder, shards, or a TFDS data set.

Images on disk are loaded in four steps, each in one module; TFDS data sets take the same steps in `tfds_source`.

    1. LIST    the files, with splits and classes              `image_folder.list_folder`, `webdataset.list_webdataset`,
                                                               `parquet_images.list_parquet`
    2. CHECK   sizes and modes, from the headers               `image_headers.check_headers`
    3. DECIDE  whether the images fit in memory                here, `folder_splits`
    4. DECODE  all pixels now, or those of a batch when asked  `decoding.decode_files`, `streaming.stream_files`
"""

import collections
import math
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.carving import shared_images, split_test, split_validation
from dlcore.data.decoding import decode_files
from dlcore.data.digits import digits
from dlcore.data.image_folder import ImageFolder, list_folder, list_unlabeled
from dlcore.data.image_headers import ImageHeaders, check_headers, target_size
from dlcore.data.parquet_images import list_parquet
from dlcore.data.photographs import photo_crops
from dlcore.data.shards import SHARDS
from dlcore.data.source import Source, check_seed
from dlcore.data.streaming import stream_files, streaming_note
from dlcore.data.tfds_source import tfds_sources
from dlcore.data.webdataset import list_webdataset
from dlcore.data.workers import Workers
from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = [
    "DATASETS",
    "Splits",
    "check_labels",
    "folder_source",
    "folder_splits",
    "load",
    "shard_splits",
    "unlabeled_source",
]

DATASETS = ("digits", "photographs", "folder", *SHARDS, "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")
PHOTO_CROPS = {"train": 4800, "valid": 600, "test": 1200}
"""Crops of the embedded photographs by split."""
_TEST_FRACTION = 0.2
_FEW = 100
"""Number of test examples below which a note says how coarse an accuracy is."""
_LIMIT_BYTES = 4 * 2**30


class Splits(NamedTuple):
    """Train, validation and test sources of one data set.

    Args:
      train: split to fit on.
      valid: split to choose settings on.
      test: split to report on.
      class_names: names of labels 0, 1, ...
      image_shape: (H, W, C) of every image.
      notes: messages about what was changed or found in the data while loading, one line each.
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
    limit_bytes: int = _LIMIT_BYTES,
    workers: Workers | None = None,
    min_classes: int = 2,
    columns: tuple[str, str] | None = None,
) -> Splits:
    """Load a data set, with a training, a validation and a test split.

    Without a test split the validation split takes its place; with neither, a fifth of the data does. Validation is
    carved from train where the data set has none left. The notes say so.

    Args:
      name: "digits" (embedded), "photographs" (embedded, crops of 12 fields), "folder" (one folder of images in
        `data_dir` per class), "webdataset" (shards), "parquet" (files of the Hugging Face hub), or a TFDS name prepared
        in `data_dir`.
      data_dir: folder or .zip of the images, folder of the shards, or the folder in which TFDS prepared the data;
        digits need none.
      seed: random seed of the held-out splits.
      valid_fraction: fraction of train that becomes the validation split where the data set has none.
      image_size: side or (H, W) of images of a folder and of streamed TFDS images; see `folder_splits`.
      skip_bad: leave out images of a folder that cannot be read, and note how many.
      limit_bytes: largest size of all decoded images in bytes; a folder or TFDS split that takes more stays on disk and
        is streamed.
      workers: threads that decode streamed images; None takes one per core.
      min_classes: smallest number of classes of a folder; fewer raise ValueError. With 0 a folder of images needs no
        class folders, and shards no labels.
      columns: columns of images and of labels of Parquet files; see `list_parquet`.

    Returns:
      The splits.

    Raises:
      FileNotFoundError: the data is not in `data_dir`.
    """
    if not isinstance(name, str):
        raise ValueError(f"name={name!r}: no text; allowed: {', '.join(DATASETS)}, or another data set of TFDS")
    check_seed(seed)
    _check_reading(limit_bytes, workers)
    check_finite("valid_fraction", valid_fraction)
    check_shapes(valid_fraction=(valid_fraction, "0 to <1"), min_classes=(min_classes, "int >= 0"))
    workers = Workers() if workers is None else workers
    if columns is not None and name != "parquet":
        raise ValueError(f"columns={columns}: dataset {name!r} has none; allowed: None, or dataset 'parquet'")
    if name == "digits":
        sources = {"train": digits("train"), "test": digits("test")}
        side = sources["train"].arrays["image"].shape[1:3]
        if image_size is not None and target_size(image_size) != side:
            raise ValueError(
                f"image_size={image_size}: the digits are in memory, {side[0]} x {side[1]}; allowed: None (a model's "
                "input is resized by --input_size)"
            )
    elif name == "photographs":
        sources = _photographs(image_size)
    elif name == "folder":
        if data_dir is None:
            raise ValueError("data_dir=None: dataset 'folder' needs one; allowed: a folder or .zip with class folders")
        sources = folder_splits(
            data_dir, image_size, skip_bad=skip_bad, limit_bytes=limit_bytes, workers=workers, min_classes=min_classes
        )
    elif name in SHARDS:
        if data_dir is None:
            raise ValueError(f"data_dir=None: dataset {name!r} needs one; allowed: a folder of shards, or one shard")
        sources = shard_splits(
            data_dir,
            name,
            columns,
            image_size,
            skip_bad=skip_bad,
            limit_bytes=limit_bytes,
            workers=workers,
            min_classes=min_classes,
        )
    else:
        sources = tfds_sources(name, data_dir, DATASETS, limit_bytes, image_size, workers)
    sources, messages = _with_test_and_valid(name, sources, valid_fraction, seed)
    if name in ("folder", *SHARDS):
        if 0 < (num_test := len(sources["test"])) < _FEW:
            messages += (f"few test examples, {num_test}: an accuracy moves in steps of {100 / num_test:.1f} %",)
        messages += shared_images(sources["train"], sources["valid"], sources["test"])
    return _checked(sources["train"], sources["valid"], sources["test"], messages)


def folder_splits(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    limit_bytes: int = _LIMIT_BYTES,
    workers: Workers | None = None,
    min_classes: int = 2,
) -> dict[str, Source]:
    """Load a folder or .zip with one folder of images per class: `image: [N, H, W, C] uint8`, `label: [N] int32`.

    Classes and default size are those of train; the channels are the same in all splits. Examples are sorted by path.

    Args:
      path: path of the folder or .zip file.
      image_size: side or (H, W): images are scaled to cover it and their center is cut out. None keeps the size if all
        images share one whose shorter side is at most 224; else it takes a square whose side is the median shorter
        side, at most 224, rounded down to a multiple of 8 (where it is 16 or more).
      channels: 1 or 3; None takes 1 where every image is gray and 3 otherwise.
      skip_bad: leave out files that cannot be read, and note how many; False raises.
      limit_bytes: largest size of all decoded images in bytes that is kept in memory.
      workers: threads that decode batch by batch where images take more than `limit_bytes`; None makes that an error.
        Size and channels of streamed images are chosen from up to 1,000 files of each split, and `skip_bad` then
        decodes every file once to find the bad ones.
      min_classes: smallest number of classes; fewer raise ValueError. With 0 no class folders are needed.

    Returns:
      Split -> source: `train` with `valid` and/or `test`, or `all` alone where the root has no folders of splits.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    _check_reading(limit_bytes, workers)
    return _read(list_folder(path, min_classes), image_size, channels, skip_bad, limit_bytes, workers)


def _check_reading(limit_bytes: int, workers: Workers | None) -> None:
    check_range("limit_bytes", limit_bytes, 0)
    if workers is not None and not isinstance(workers, Workers):
        raise ValueError(f"workers={workers!r}: no workers; allowed: Workers(count), or None")


def _photographs(image_size: int | tuple[int, int] | None) -> dict[str, Source]:
    height, width = (32, 32) if image_size is None else target_size(image_size)
    if height != width or not 4 <= height <= 40:
        raise ValueError(f"image_size={image_size}: no crop of the photographs; allowed: one side, 4 to 40")
    return {split: photo_crops(split, count, size=height) for split, count in PHOTO_CROPS.items()}


def shard_splits(
    path: str | Path,
    kind: str,
    columns: tuple[str, str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    limit_bytes: int = _LIMIT_BYTES,
    workers: Workers | None = None,
    min_classes: int = 2,
) -> dict[str, Source]:
    """Load shards of images: `image: [N, H, W, C] uint8`, `label: [N] int32`, in the order of the shards.

    Args:
      path: path of a folder of shards, or of one.
      kind: "webdataset" (see `list_webdataset`) or "parquet" (see `list_parquet`).
      columns: columns of images and of labels of Parquet files; see `list_parquet`.
      image_size: side or (H, W); see `folder_splits`.
      channels: 1 or 3; see `folder_splits`.
      skip_bad: leave out images that cannot be read, and note how many; False raises.
      limit_bytes: largest size of all decoded images in bytes that is kept in memory.
      workers: threads that decode images that take more; None makes that an error.
      min_classes: smallest number of classes; fewer raise ValueError. With 0 no labels are needed.

    Returns:
      Split -> source: `train` with `valid` and/or `test`, or `all` alone where no shard names another split.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    _check_reading(limit_bytes, workers)
    check_choice("kind", kind, SHARDS)
    is_tar = kind == "webdataset"
    shards = list_webdataset(path, min_classes) if is_tar else list_parquet(path, min_classes, columns)
    return _read(shards, image_size, channels, skip_bad, limit_bytes, workers)


def unlabeled_source(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    limit_bytes: int = _LIMIT_BYTES,
    workers: Workers | None = None,
) -> Source:
    """Load all images below a folder or in a .zip, without labels: `image: [N, H, W, C] uint8`.

    Args:
      path: path of the folder or .zip file; folders in it have no meaning.
      image_size: side or (H, W); see `folder_splits`.
      channels: 1 or 3; see `folder_splits`.
      skip_bad: leave out files that cannot be read, and note how many; False raises.
      limit_bytes: largest size of all decoded images in bytes that is kept in memory.
      workers: threads that decode images that take more; None makes that an error.

    Returns:
      The source, in the order of the paths.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    _check_reading(limit_bytes, workers)
    source = _read(list_unlabeled(path), image_size, channels, skip_bad, limit_bytes, workers)["all"]
    return replace(source, arrays={"image": source.arrays["image"]}, class_names=())


def _read(
    folder: ImageFolder,
    image_size: int | tuple[int, int] | None,
    channels: int | None,
    skip_bad: bool,
    limit_bytes: int,
    workers: Workers | None,
) -> dict[str, Source]:
    """Read the files of a listing, split by split."""
    size = None if image_size is None else target_size(image_size)
    headers = check_headers(folder, size, channels, skip_bad, None if workers is None else limit_bytes)
    stream = workers is not None and headers.num_bytes > limit_bytes
    if not stream:
        _check_fits(folder.path, sum(map(len, headers.readable.values())), headers.shape, limit_bytes)
    sources = {}
    for split, files in folder.splits.items():
        name = f"{folder.name}/{split}"
        if stream:
            images, read = stream_files(files, headers, folder.zipped, skip_bad, workers)
        else:
            images, read = decode_files(headers.readable[split], headers.shape, skip_bad)
        messages = _notes(folder, headers)
        if stream:
            messages += (streaming_note(folder.path, headers.num_bytes, limit_bytes, headers.shape, workers),)
        if len(read) < len(files):
            bad = len(files) - len(read)
            messages += (f"{name}: {bad} of {len(files)} files could not be read and were left out",)
        arrays = {"image": images, "label": np.array([file.label for file in read], np.int32)}
        names, sizes = np.array([file.key for file in read], object), np.array([file.size for file in read], np.int64)
        sources[split] = Source(arrays, len(read), folder.class_names, name, messages, names, sizes)
    return sources


def folder_source(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    limit_bytes: int = _LIMIT_BYTES,
) -> Source:
    """Load a folder or .zip without splits into memory, and log its notes; see `folder_splits`.

    Args:
      path: path of the folder or .zip file, one folder per class.
      image_size: side or (H, W); None takes the images' own size, or a square of the median short side.
      channels: 1 or 3; None takes 1 where every image is gray and 3 otherwise.
      skip_bad: leave out files that cannot be read, and note how many; False raises.
      limit_bytes: largest size of all decoded images in bytes; more raise ValueError.

    Returns:
      All images, as one source.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    splits = folder_splits(path, image_size, channels, skip_bad, limit_bytes)
    if "all" not in splits:
        raise ValueError(f"path={str(path)!r}: holds the splits {sorted(splits)}; allowed: a folder without splits")
    for message in splits["all"].notes:
        logging.warning("%s", message)
    return splits["all"]


def check_labels(source: Source, num_classes: int) -> None:
    """Check that every label is a class.

    Args:
      source: source with `label`.
      num_classes: labels must be in [0, num_classes).
    """
    check_whole_number("num_classes", num_classes, 0)
    if "label" not in source.arrays:
        raise ValueError(f"source={source.name!r}: holds no label, only {sorted(source.arrays)}; allowed: one with it")
    label = np.asarray(source.arrays["label"])
    bad = np.flatnonzero(~((label >= 0) & (label < num_classes) & (label == np.floor(label))))
    if bad.size:
        raise ValueError(f"label {label[bad[0]]} of example {bad[0]} in {source.name!r} is outside [0, {num_classes})")


def _check_fits(path: str, count: int, shape: tuple[int, int, int], limit_bytes: int) -> None:
    num_bytes = count * math.prod(shape)
    if num_bytes > limit_bytes:
        side = int(math.sqrt(limit_bytes / (count * shape[2])))
        raise ValueError(
            f"path={path!r}: {count} images of {shape} take {num_bytes / 2**30:.1f} GiB, more than limit_bytes="
            f"{limit_bytes} ({limit_bytes / 2**30:.1f} GiB); "
            + (f"image_size={side} or less fits" if side else f"allowed: at least {count * shape[2]} bytes")
        )


def _notes(folder: ImageFolder, headers: ImageHeaders) -> tuple[str, ...]:
    messages = ()
    if headers.mixed:
        mode = "gray" if headers.shape[2] == 1 else "RGB"
        messages += (f"{folder.path}: gray and color images together, all converted to {mode}",)
    if folder.num_outside:
        messages += (f"{folder.path}: images outside the class folders, left out: {folder.num_outside}",)
    if without := folder.without_images:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        messages += (f"{folder.path}: folders without an image, left out: {', '.join(without[:5])}{more}",)
    for form, difference in ((str.casefold, "upper and lower case"), (_nfc, "Unicode form (NFC and NFD)")):
        alike = collections.Counter(map(form, folder.class_names))
        if names := [name for name in folder.class_names if alike[form(name)] > 1]:
            messages += (f"{folder.path}: classes whose names differ in {difference} alone: {', '.join(names)}",)
    for split, files in folder.splits.items():
        there = {file.label for file in files}
        if missing := [name for label, name in enumerate(folder.class_names) if label not in there]:
            more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
            messages += (f"{folder.path}: no image in {split} of the classes {', '.join(missing[:20])}{more}",)
    return messages


def _nfc(name: str) -> str:
    """Return a name with each accented letter as one character, where macOS writes two."""
    return unicodedata.normalize("NFC", name)


def _with_test_and_valid(
    name: str, sources: dict[str, Source], valid_fraction: float, seed: int
) -> tuple[dict[str, Source], tuple[str, ...]]:
    """Complete the sources to train, valid and test by carving, and return messages that say what was done."""
    sources, messages = dict(sources), ()
    if len(sources) == 1:
        (whole,) = sources.values()
        train, test = split_test(whole, _TEST_FRACTION)
        sources = {"train": train, "test": test}
        messages += (f"no test split: {len(test)} examples were set aside for it, the same for every seed",)
    elif "train" not in sources:
        raise ValueError(f"dataset={name!r}: has no train split, only {sorted(sources)}")
    elif "test" not in sources:
        sources["test"] = sources.pop("valid")
        messages += ("no test split: the validation split takes its place, and validation is carved from train",)
    if "valid" not in sources:
        sources["train"], sources["valid"] = split_validation(sources["train"], valid_fraction, seed)
    return sources, messages


def _checked(train: Source, valid: Source, test: Source, messages: tuple[str, ...]) -> Splits:
    for source in (train, valid, test):
        check_labels(source, len(train.class_names))
    shapes = {source.name: source.arrays["image"].shape[1:] for source in (train, valid, test)}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"image_size=None: the splits have several shapes, {shapes}; allowed: a size for all")
    messages = tuple(dict.fromkeys(messages + train.notes + valid.notes + test.notes))
    return Splits(train, valid, test, train.class_names, train.arrays["image"].shape[1:], messages)
