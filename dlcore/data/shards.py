"""Step 1 of loading images in shards, LIST: the split of each shard, and the classes of its records.

A shard is a file of many images: a WebDataset .tar (`webdataset`) or a Parquet file (`parquet_images`). Its split is
that of a folder above it, `train/00000.tar`, or a word of its own name, `train-00000-of-00005.parquet`. No image is
decoded here.
"""

import collections
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from dlcore.choices import check_path, check_whole_number
from dlcore.data.folders import files_below, is_visible
from dlcore.data.image_folder import UNLABELED, ImageFile, ImageFolder
from dlcore.data.split_names import allowed_names, check_one_name, split_of

__all__ = ["SHARDS", "Record", "list_shards", "sharded_images"]


SHARDS = ("webdataset", "parquet")
"""Kinds of shards."""
_MOST_CLASSES = 100_000
"""Number of classes from which on there must be as many images: larger numbers are most likely ids of the images."""
_SHOWN = 5
"""Largest number of classes that an error message lists."""


class Record(NamedTuple):
    """An image of a shard.

    Args:
      name: name for messages, "FOLDER/train-0.tar:00012.jpg".
      label: class as a number or by name; None if the record has none.
      open: function that opens the encoded image for reading bytes.
      key: name of the record relative to the data set, "train-0.tar:00012.jpg".
      size: size of the encoded image in bytes, or an estimate of it.
    """

    name: str
    label: int | str | None
    open: Callable[[], IO[bytes]]
    key: str
    size: int


def list_shards(path: str | Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """List the shards of a data set by split.

    Args:
      path: path of a folder, whose shards may lie at any depth, or of one shard.
      endings: allowed endings of the shards' names, such as (".tar",).

    Returns:
      Split -> shards, sorted: `train` with `valid` and/or `test`, or `all` alone.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    path, allowed = Path(path), " or ".join(endings)
    if path.is_file():
        return {"all": [path]}
    if not path.is_dir():
        raise FileNotFoundError(f"path={str(path)!r}: no such file or folder")
    files = [file for file in files_below(path) if is_visible(file.relative_to(path).parts)]
    shards = [file for file in files if file.name.lower().endswith(tuple(endings))]
    if not shards:
        raise ValueError(f"path={str(path)!r}: holds no file whose name ends in {allowed}; allowed: a folder of them")
    names = {shard: _split_name(shard.relative_to(path)) for shard in shards}
    split_names = sorted(set(filter(None, names.values())))
    check_one_name(split_names, f"path={str(path)!r}")
    if set(split_names) <= {"train", "training"}:
        return {"all": shards}
    if other := [shard for shard in shards if names[shard] is None]:
        raise ValueError(f"path={str(path)!r}: {other[0].relative_to(path)} is of no split; allowed: {allowed_names()}")
    if "train" not in map(split_of, split_names):
        raise ValueError(f"path={str(path)!r}: {', '.join(split_names)} and no training split; allowed: 'train', too")
    splits = {
        split: [shard for shard in shards if split_of(names[shard] or "") == split]
        for split in ("train", "valid", "test")
    }
    return {split: group for split, group in splits.items() if group}


def _split_name(shard: Path) -> str | None:
    """Return the name of a shard's split: that of the nearest folder above it, else a word of its file name."""
    if folders := [part for part in shard.parts[:-1] if split_of(part)]:
        return folders[-1].lower()
    words = list(dict.fromkeys(word.lower() for word in re.split(r"[-_.]", shard.name) if split_of(word)))
    if len(words) > 1:
        raise ValueError(f"shard={str(shard)!r}: its name holds the splits {', '.join(words)}; allowed: one of them")
    return words[0] if words else None


def sharded_images(
    path: str | Path, records: dict[str, list[Record]], class_names: Sequence[str] = (), min_classes: int = 2
) -> ImageFolder:
    """Number the classes of records.

    Args:
      path: path of the data set.
      records: split -> its records: `train` with `valid` and/or `test`, or `all` alone.
      class_names: names of the labels 0, 1, ...; empty takes the sorted labels that are names, and "0", "1", ... up to
        the largest training label of labels that are numbers.
      min_classes: smallest number of classes; fewer raise ValueError. With 0, images without labels are allowed, and
        all get the single class UNLABELED.

    Returns:
      The images by split, with their classes.
    """
    check_whole_number("min_classes", min_classes, 0)
    path = Path(path)
    main = "train" if "train" in records else "all"
    all_records = [record for group in records.values() for record in group]
    if min_classes == 0 and any(record.label is None for record in all_records):
        names: tuple[str, ...] = (UNLABELED,)
        number = dict.fromkeys([record.label for record in all_records], 0)
    else:
        _check_labels(path, all_records)
        names = tuple(class_names) or _class_names([record.label for record in records[main]])
        ambiguous = {name for name, count in collections.Counter(names).items() if count > 1}  # ImageNet has some
        if twice := [record.label for record in all_records if record.label in ambiguous]:
            raise ValueError(f"path={str(path)!r}: two classes are called {twice[0]!r}; allowed: each name once")
        number = {name: label for label, name in enumerate(names)} | {label: label for label in range(len(names))}
        if len(names) < min_classes:
            raise ValueError(f"path={str(path)!r}: has {len(names)} class; allowed: at least {min_classes}")
    for record in all_records:
        if record.label not in number:
            raise ValueError(
                f"path={str(path)!r}: the label {record.label!r} of {record.key} is no class of the training split; "
                f"allowed: {', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}"
            )
    splits = {
        split: [ImageFile(r.name, number[r.label], r.open, r.key, r.size) for r in group]
        for split, group in records.items()
    }
    return ImageFolder(path.resolve().name, str(path), splits, names, 0, main, zipped=True)


def _check_labels(path: Path, records: Sequence[Record]) -> None:
    kinds: dict[type, Record] = {}
    limit = max(_MOST_CLASSES, len(records))
    for record in records:
        kinds.setdefault(type(record.label), record)
        if record.label is None:
            raise ValueError(f"path={str(path)!r}: {record.key} has no label; allowed: a label of each image")
        if isinstance(record.label, int) and not 0 <= record.label < limit:
            problem = "negative" if record.label < 0 else "too large"
            raise ValueError(
                f"path={str(path)!r}: the label {record.label} of {record.key} is {problem}; allowed: "
                f"0, ..., {limit - 1}"
            )
    if len(kinds) > 1:
        examples = " and ".join(f"{record.label!r} of {record.key}" for record in kinds.values())
        raise ValueError(f"path={str(path)!r}: labels are {examples}; allowed: all numbers, or all names")


def _class_names(labels: Sequence[int | str | None]) -> tuple[str, ...]:
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers:
        return tuple(map(str, range(max(numbers) + 1)))
    return tuple(sorted({str(label) for label in labels}))
