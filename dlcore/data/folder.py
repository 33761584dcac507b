"""Your own images: a folder (or a .zip) with one folder of image files a class, of any size and format.

The folder that an image lies in is its class, named by its path below the root ("cat", "animals/cat"); folders that
wrap everything are left out of the name. Where the root holds `train` and `test` (or `val`) folders, these are the
splits. Everything is decoded once into one uint8 array; what does not fit stays on disk, where `workers` are given.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from absl import logging

from dlcore.data.images import EXTENSIONS, decode, header, is_image, list_images, load_image, target_size
from dlcore.data.source import Source
from dlcore.data.streaming import StreamedImages, Workers, evenly, kept_share, on_disk

__all__ = ["folder_source", "folder_splits", "list_images", "load_image"]

_LIMIT_BYTES = 4 * 2**30
_LARGEST_DEFAULT = 224
_LOOKED_AT = 1000
_SPLITS = {"train": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test"}


class _File(NamedTuple):
    shown: str
    parts: tuple[str, ...]
    open: Callable[[], Path | IO[bytes]]

    @property
    def class_name(self) -> str:
        return "/".join(self.parts[:-1])


def folder_source(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    limit_bytes: int = _LIMIT_BYTES,
) -> Source:
    """`image: [N, H, W, C] uint8` and `label: [N] int32` of a folder or .zip of class folders, sorted by path.

    What loading did to the images (conversions, files left out) is in `notes`, and is logged, a line each.

    image_size: s or (H, W): scaled to cover it, the centre cut out. None keeps the size of images that all have one
        (at most 224 on the short side), and else takes a square of the median short side, at most 224, from 16 on
        rounded down to a multiple of 8.
    channels: 1 or 3; None takes 1 where every image is grey and 3 otherwise.
    skip_bad: leave out files that cannot be read (`notes` says how many) where they would be an error.
    limit_bytes: the most that the decoded images may take.

    Raises: FileNotFoundError; ValueError where there are no images, no class folders, one class only, splits (use
    `folder_splits`), an unreadable image (named), or more than `limit_bytes`.
    """
    splits = folder_splits(path, image_size, channels, skip_bad, limit_bytes)
    if "all" not in splits:
        raise ValueError(f"path is {str(path)!r}: it holds the splits {sorted(splits)}; use folder_splits, or give one")
    for note in splits["all"].notes:
        logging.warning("%s", note)
    return splits["all"]


def folder_splits(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    limit_bytes: int = _LIMIT_BYTES,
    workers: Workers | None = None,
) -> dict[str, Source]:
    """As `folder_source`, by split: `train` with `valid` and/or `test`, or `all` where the root has no such folders.

    The classes and the default size are those of train; the channels are the same in all splits. Notes are not logged.

    workers: what decodes images that take more than `limit_bytes`, as they are needed (`StreamedImages`); without them
        that is an error. Size and channels are then those of up to a thousand files of each split, and `skip_bad`
        decodes every file once to find the bad ones.

    Raises: as `folder_source`; also ValueError for a class that train does not have.
    """
    if image_size is not None:
        image_size = target_size(image_size)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels is {channels}; None, 1 and 3 are allowed")
    files = _files(Path(path))
    groups = _grouped(str(path), files)
    main = "train" if "train" in groups else "all"
    class_names = _class_names(str(path), groups, main)
    looked = groups if workers is None else {split: evenly(files, _LOOKED_AT) for split, files in groups.items()}
    readable = _headers(looked, skip_bad)
    shape, grey = _shape(str(path), readable, main, len(groups[main]), image_size, channels)
    needed = sum(map(len, groups.values())) * math.prod(shape)
    if needed <= limit_bytes and looked is not groups:
        readable = _headers(groups, skip_bad)
        shape, grey = _shape(str(path), readable, main, len(groups[main]), image_size, channels)
    stream = workers is not None and needed > limit_bytes
    if not stream:
        _check_bytes(str(path), sum(map(len, readable.values())), shape, limit_bytes)
    notes: tuple[str, ...] = ()
    if len(grey) == 2:
        notes += (f"{path}: grey and colour images together, all converted to {'grey' if shape[2] == 1 else 'RGB'}",)
    outside = len(files) - sum(map(len, groups.values()))
    if outside:
        notes += (f"{path}: images outside the class folders, left out: {outside}",)
    if stream:
        notes += (on_disk(str(path), needed, limit_bytes, shape, workers),)
        crop_pct = kept_share({size for _, (size, _) in readable[main]}, shape[:2])
    sources = {}
    for split in groups:
        name = f"{Path(path).resolve().name}/{split}"
        if stream:
            source = _streamed(
                name, groups[split], class_names, shape, crop_pct, skip_bad, workers, Path(path).is_file()
            )
        else:
            source = _decoded(name, [file for file, _ in readable[split]], class_names, shape, skip_bad)
        bad = len(groups[split]) - len(source)
        skipped = f"{name}: {bad} of {len(groups[split])} files could not be read and were left out"
        sources[split] = replace(source, notes=(*notes, skipped) if bad else notes)
    return sources


def _headers(groups: dict[str, list[_File]], skip_bad: bool) -> dict[str, list[tuple[_File, Any]]]:
    return {
        split: [
            (file, head)
            for file, head in zip(files, _each(lambda _, file: header(file.open()), files, skip_bad), strict=True)
            if head is not None
        ]
        for split, files in groups.items()
    }


def _shape(
    path: str,
    readable: dict[str, list],
    main: str,
    count: int,
    image_size: tuple[int, int] | None,
    channels: int | None,
) -> tuple[tuple[int, int, int], set[bool]]:
    """((H, W, C) of every image, whether files are grey: True, False or both)."""
    sizes = [size for _, (size, _) in readable[main]]
    if not sizes:
        raise ValueError(f"path is {path!r}: none of its {count} images can be read")
    grey = {is_grey for found in readable.values() for _, (_, is_grey) in found}
    return (*(image_size or _default_size(sizes)), channels or (1 if grey == {True} else 3)), grey


def _files(path: Path) -> list[_File]:
    if path.is_dir():
        return [_File(str(f), f.relative_to(path).parts, lambda f=f: f) for f in list_images(path)]
    if not path.is_file():
        raise FileNotFoundError(f"path is {str(path)!r}: there is no such folder or .zip")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"path is {str(path)!r}: neither a folder nor a .zip")
    archive = zipfile.ZipFile(path)
    names = sorted(n for n in archive.namelist() if not n.endswith("/") and is_image(PurePosixPath(n).parts))
    if not names:
        raise ValueError(f"path is {str(path)!r}: it holds no image ({', '.join(EXTENSIONS)})")
    return [_File(f"{path}:{n}", PurePosixPath(n).parts, lambda n=n: io.BytesIO(archive.read(n))) for n in names]


def _grouped(path: str, files: list[_File]) -> dict[str, list[_File]]:
    files = _unwrapped(files)
    if not files:
        raise ValueError(f"path is {path!r}: its images lie in no class folders; put those of each class in a folder")
    top = {file.parts[0] for file in files}
    splits = {name: _SPLITS[name.lower()] for name in top if name.lower() in _SPLITS}
    if "train" not in splits.values() or len(set(splits.values())) < 2:
        return {"all": files}
    groups: dict[str, list[_File]] = {}
    for name, split in sorted(splits.items()):
        inside = [file._replace(parts=file.parts[1:]) for file in files if file.parts[0] == name]
        if any(len(file.parts) < 2 for file in inside):
            raise ValueError(f"path is {path!r}: images lie in {name!r} itself; put those of each class in a folder")
        groups.setdefault(split, []).extend(inside)
    return groups


def _unwrapped(files: list[_File]) -> list[_File]:
    """Leave out the folders that wrap everything, but not the last one, a class; and files that lie beside classes."""
    while True:
        files = [file for file in files if len(file.parts) > 1]
        if len({file.parts[0] for file in files}) != 1 or all(len(file.parts) == 2 for file in files):
            return files
        files = [file._replace(parts=file.parts[1:]) for file in files]


def _class_names(path: str, groups: dict[str, list[_File]], main: str) -> tuple[str, ...]:
    names = tuple(sorted({file.class_name for file in groups[main]}))
    if len(names) < 2:
        raise ValueError(f"path is {path!r}: {names[0]!r} is the only class; at least two class folders are needed")
    for split, files in groups.items():
        unknown = sorted({file.class_name for file in files}.difference(names))
        if unknown:
            raise ValueError(f"path is {path!r}: class {unknown[0]!r} of {split} is not in train, which has {names}")
    return names


def _each(function: Callable[[int, _File], Any], files: list[_File], skip_bad: bool) -> list:
    """function(row, file) of each, in threads, in order; what cannot be read is a ValueError naming it, or None."""

    def guarded(row: int, file: _File) -> Any:
        try:
            return function(row, file)
        except Exception as error:
            if skip_bad:
                return None
            raise ValueError(
                f"{file.shown} cannot be read as an image ({error}); remove it, or leave such files out by skip_bad"
            ) from error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(guarded, range(len(files)), files))


def _default_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    if len(set(sizes)) == 1 and min(sizes[0]) <= _LARGEST_DEFAULT:
        return sizes[0]
    side = min(int(np.median([min(size) for size in sizes])), _LARGEST_DEFAULT)
    side = side - side % 8 if side >= 16 else side
    return side, side


def _check_bytes(path: str, count: int, shape: tuple[int, int, int], limit_bytes: int) -> None:
    needed = count * math.prod(shape)
    if needed > limit_bytes:
        fits = int(math.sqrt(limit_bytes / (count * shape[2])))
        raise ValueError(
            f"path is {path!r}: {count} images of {shape} take {needed / 2**30:.1f} GiB, more than limit_bytes = "
            f"{limit_bytes / 2**30:.1f} GiB; image_size={fits} or less fits"
        )


def _decoded(
    name: str, files: list[_File], class_names: tuple[str, ...], shape: tuple[int, int, int], skip_bad: bool
) -> Source:
    images = np.empty((len(files), *shape), np.uint8)

    def fill(row: int, file: _File) -> bool:
        images[row] = decode(file.open(), shape[:2], shape[2])
        return True

    keep = np.array([done is True for done in _each(fill, files, skip_bad)], bool)
    if not keep.all():
        images = images[keep]
    number = {class_name: label for label, class_name in enumerate(class_names)}
    labels = np.array([number[file.class_name] for file, kept in zip(files, keep, strict=True) if kept], np.int32)
    return Source({"image": images, "label": labels}, class_names=class_names, name=name)


def _streamed(
    name: str,
    files: list[_File],
    class_names: tuple[str, ...],
    shape: tuple[int, int, int],
    crop_pct: float,
    skip_bad: bool,
    workers: Workers,
    zipped: bool,
) -> Source:
    if skip_bad:
        good = _each(lambda _, file: decode(file.open(), shape[:2], shape[2]) is not None, files, skip_bad)
        files = [file for file, fine in zip(files, good, strict=True) if fine]
    number = {class_name: label for label, class_name in enumerate(class_names)}
    labels = np.array([number[file.class_name] for file in files], np.int32)

    shown = [file.shown for file in files]

    # A string a file is all that is kept of a folder: ImageNet has 1.3 million.
    def from_folder(record: int) -> bytes:
        return Path(shown[record]).read_bytes()

    def from_zip(record: int) -> bytes:
        return files[record].open().read()

    read = from_zip if zipped else from_folder
    images = StreamedImages(
        read, shown.__getitem__, np.arange(len(files)), shape[:2], shape[2], crop_pct, workers=workers
    )
    return Source({"image": images, "label": labels}, class_names=class_names, name=name)
