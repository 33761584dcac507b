"""Step 2 of loading images, CHECK: read sizes and modes from the files' headers, before a pixel is decoded."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.data.image_folder import ImageFile, ImageFolder
from dlcore.data.image_pixels import is_sideways, open_image
from dlcore.data.workers import try_each

__all__ = [
    "SAMPLE_SIZE",
    "ImageHeaders",
    "check_headers",
    "default_crop_pct",
    "read_header",
    "take_evenly",
    "target_size",
]

SAMPLE_SIZE = 1000
"""Largest number of headers of each split that are read where images may be streamed."""
_LARGEST_DEFAULT = 224
"""Largest shorter side in pixels that `check_headers` chooses."""


class ImageHeaders(NamedTuple):
    """Shape and size of a data set, from the headers of its image files.

    Args:
      readable: split -> files whose headers were read without error, out of all or of a sample.
      shape: (H, W, C) that images are decoded to.
      num_bytes: size in bytes of all images decoded to `shape`.
      crop_pct: side of the center crop as a fraction of the scaled image's side, in (0, 1].
      mixed: whether there are both gray and color images.
    """

    readable: dict[str, list[ImageFile]]
    shape: tuple[int, int, int]
    num_bytes: int
    crop_pct: float
    mixed: bool


def check_headers(
    folder: ImageFolder,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    sample_above: int | None = None,
) -> ImageHeaders:
    """Read the headers and choose the shape of the images.

    Args:
      folder: result of `list_folder`.
      image_size: (H, W); None keeps the size if all images share one whose shorter side is at most 224; else it takes a
        square whose side is the median shorter side, at most 224, rounded down to a multiple of 8 (where it is 16 or
        more).
      channels: 1 or 3; None takes 1 where every image is gray and 3 otherwise.
      skip_bad: drop files that cannot be read instead of raising.
      sample_above: size in bytes of all decoded images above which only up to 1,000 headers per split are read; None
        reads all headers.

    Returns:
      The shape of the images and the files that can be read.
    """
    image_size = None if image_size is None else target_size(image_size)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels!r}: unknown; allowed: None, 1, 3")
    if sample_above is not None:
        sample = {split: take_evenly(files, SAMPLE_SIZE) for split, files in folder.splits.items()}
        headers = _check(folder, sample, image_size, channels, skip_bad)
        if headers.num_bytes > sample_above or all(len(sample[s]) == len(folder.splits[s]) for s in sample):
            return headers
    return _check(folder, folder.splits, image_size, channels, skip_bad)


def _check(
    folder: ImageFolder,
    splits: dict[str, list[ImageFile]],
    image_size: tuple[int, int] | None,
    channels: int | None,
    skip_bad: bool,
) -> ImageHeaders:
    def read(_: int, file: ImageFile) -> tuple[tuple[int, int], bool]:
        with file.open() as data:
            return read_header(data)

    read_all = iter(try_each(read, [file for files in splits.values() for file in files], skip_bad))
    headers = {split: list(itertools.islice(read_all, len(files))) for split, files in splits.items()}
    sizes = [header[0] for header in headers[folder.main] if header]
    if not sizes:
        count = len(folder.splits[folder.main])
        raise ValueError(f"path={folder.path!r}: none of its {count} images can be read")
    gray = {header[1] for group in headers.values() for header in group if header}
    shape = (*(image_size or _default_size(sizes)), channels or (1 if gray == {True} else 3))
    readable = {
        split: [file for file, header in zip(files, headers[split], strict=True) if header]
        for split, files in splits.items()
    }
    num_bytes = sum(map(len, folder.splits.values())) * math.prod(shape)
    return ImageHeaders(readable, shape, num_bytes, default_crop_pct(set(sizes), shape[:2]), len(gray) == 2)


def read_header(file: Path | IO[bytes]) -> tuple[tuple[int, int], bool]:
    """Read size and mode of an image without decoding its pixels.

    Args:
      file: path, or file opened for reading bytes.

    Returns:
      ((H, W) after rotation by the EXIF orientation, whether the image is gray).

    Raises:
      ValueError: the file is not an image.
    """
    with open_image(file) as image:
        width, height = image.size[::-1] if is_sideways(image) else image.size
        return (height, width), image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def target_size(image_size: int | tuple[int, int], name: str = "image_size") -> tuple[int, int]:
    """Check an image size and return it as a pair.

    Args:
      image_size: side in pixels, or (H, W).
      name: name of the argument, for the error message.

    Returns:
      (H, W).
    """
    is_pair = isinstance(image_size, tuple | list) or getattr(image_size, "ndim", 0) == 1
    size = tuple(image_size) if is_pair else (image_size, image_size)
    if len(size) != 2 or not all(is_whole_number(side) and side > 0 for side in size):
        raise ValueError(f"{name}={image_size!r}: not a size; allowed: a positive int, or a pair (height, width)")
    return int(size[0]), int(size[1])


def default_crop_pct(sizes: set[tuple[int, int]], size: tuple[int, int]) -> float:
    """Choose `crop_pct`, the side of the center crop as a fraction of the scaled image's side.

    Args:
      sizes: (H, W) of the images.
      size: (H, W) that they are decoded to.

    Returns:
      1 where all images have the same size and it is not larger than `size`; else 0.875.
    """
    return 1.0 if len(sizes) == 1 and all(a <= b for a, b in zip(*sizes, size, strict=True)) else 0.875


def take_evenly(items: Sequence[Any], count: int) -> list[Any]:
    """Take evenly spaced items, from the first to the last.

    Args:
      items: items to choose from.
      count: largest number of items to take.

    Returns:
      min(count, len(items)) items, in order.
    """
    check_whole_number("count", count, 0)
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int))]


def _default_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    if len(set(sizes)) == 1 and min(sizes[0]) <= _LARGEST_DEFAULT:
        return sizes[0]
    side = min(int(np.median([min(size) for size in sizes])), _LARGEST_DEFAULT)
    side = side - side % 8 if side >= 16 else side
    return side, side
