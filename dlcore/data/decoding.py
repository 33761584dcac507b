"""Step 4 of loading images, DECODE: one encoded image to uint8 pixels of a fixed size.

    in memory:  the image scaled until it just covers (h, w), its center cut out (`decode_image`)
    streamed:   in training a box of area a H W, a ~ U(area), and aspect r, log r ~ U(log ratio), anywhere, scaled to
                (h, w); in evaluation the image scaled until it covers (h, w) / crop_pct, its center (h, w) cut out

Szegedy et al. 2014, arXiv:1409.4842 (the random box); Krizhevsky, Sutskever & Hinton 2012 (256, then 224: a crop_pct of
0.875, as timm calls it).

Both crops of streamed images are one resize of a box, so that no pixel outside the crop is computed. With Pillow the
resize is bilinear and antialiased, and the center crop equals torchvision's Resize and CenterCrop to one gray level.
The resize of a random box also reads pixels just outside the box, where torchvision crops first: the outermost pixels
of the result differ. A JPEG that shrinks four times or more is decoded at a half, a quarter or an eighth of its size
(Pillow's draft), never below twice the target.
"""

import io
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from dlcore.choices import check_choice, check_pair, check_path, check_whole_number
from dlcore.data.image_folder import ImageFile
from dlcore.data.image_headers import target_size
from dlcore.data.image_pixels import Box, center_box, decode_box_by_pillow, decode_image, open_image, orientation
from dlcore.data.workers import DECODERS, try_each
from dlcore.extras import require
from dlcore.ops.checks import check_finite

__all__ = [
    "Box",
    "center_box",
    "decode_box",
    "decode_files",
    "decode_image",
    "load_center_crop",
    "load_image",
    "random_box",
    "stretch_image",
]

_TRIES = 10
"""Draws of a random box before the largest central box is taken."""
_PLAIN = ("JPEG", "MPO", "PNG", "BMP", "WEBP")
"""Formats that OpenCV decodes where they are gray or RGB of 8 bits."""
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd8\xff]")
"""A marker of a JPEG's segments; the stuffed zeros and restart markers inside the pixel data do not match."""


def decode_files(
    files: list[ImageFile], shape: tuple[int, int, int], skip_bad: bool
) -> tuple[np.ndarray, list[ImageFile]]:
    """Decode image files to one array, in threads.

    Args:
      files: image files.
      shape: (h, w, channels) that each is decoded to; see `decode_image`.
      skip_bad: drop files that cannot be read instead of raising.

    Returns:
      (images [N, h, w, channels] uint8, their N files), without the dropped files.
    """
    if len(shape) != 3:
        raise ValueError(f"shape={shape}: no shape; allowed: (h, w, channels)")
    target_size(tuple(shape[:2]), "shape")
    check_choice("channels", shape[2], (1, 3))
    images = np.empty((len(files), *shape), np.uint8)

    def fill(row: int, file: ImageFile) -> bool:
        with file.open() as data:
            images[row] = decode_image(data, shape[:2], shape[2])
        return True

    readable = np.array([result is True for result in try_each(fill, files, skip_bad)], bool)
    if readable.all():
        return images, files
    return images[readable], [file for file, good in zip(files, readable, strict=True) if good]


def load_image(path: str | Path, size: int | tuple[int, int] | None = None, channels: int = 3) -> np.ndarray:
    """Read one image file; see `decode_image`.

    Args:
      path: path of the file.
      size: side or (h, w); the image is scaled to cover it and its center is cut out. None keeps the size.
      channels: 1 (gray) or 3 (RGB).

    Returns:
      [h, w, channels] uint8.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: `path` is no path; `size` is no size, `channels` is neither 1 nor 3, or the file is not a readable
        image.
    """
    check_path("path", path)
    check_choice("channels", channels, (1, 3))
    if not Path(path).is_file():
        raise FileNotFoundError(f"path={str(path)!r}: no such file; allowed: an image file")
    pair = None if size is None else target_size(size, "size")
    try:
        return decode_image(Path(path), pair, channels)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def load_center_crop(path: str | Path, size: tuple[int, int], channels: int = 3, crop_pct: float = 0.875) -> np.ndarray:
    """Read the center crop of one image file; see `center_box`.

    Args:
      path: path of the file.
      size: (h, w) of the result.
      channels: 1 (gray) or 3 (RGB).
      crop_pct: side of the crop as a fraction of the scaled image's side, in (0, 1].

    Returns:
      [h, w, channels] uint8.
    """
    check_path("path", path)
    size = target_size(size, "size")
    check_choice("channels", channels, (1, 3))
    check_finite("crop_pct", crop_pct)
    if not 0 < crop_pct <= 1:
        raise ValueError(f"crop_pct={crop_pct}: out of range; allowed: in (0, 1]")
    try:
        return decode_box(Path(path).read_bytes(), partial(center_box, size=size, crop_pct=crop_pct), size, channels)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def stretch_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image without keeping its aspect ratio (bilinear, antialiased).

    Args:
      image: [H, W, 3] uint8.
      size: (h, w) of the result.

    Returns:
      [h, w, 3] uint8.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image={image.dtype}{list(image.shape)}: no picture; allowed: uint8 [H, W, 3]")
    size = target_size(size, "size")
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def decode_box(
    data: bytes,
    choose: Callable[[int, int], Box],
    size: tuple[int, int],
    channels: int = 3,
    decoder: Literal["pillow", "opencv"] = "pillow",
    orient: bool = True,
) -> np.ndarray:
    """Decode one box of an encoded image and resize it.

    Args:
      data: bytes of the encoded image.
      choose: function from the image's (height, width) to the box to decode.
      size: (h, w) of the result.
      channels: 1 (gray) or 3 (RGB).
      decoder: pillow, or opencv, which is faster and gives slightly different pixels: it resizes a box that shrinks
        less than twice bilinearly without antialiasing, as tf.image.resize does, and other boxes by averaging areas. It
        decodes 8-bit gray and RGB images in JPEG, PNG, BMP and WebP; Pillow decodes all others.
      orient: rotate the image as its EXIF orientation says.

    Returns:
      [h, w, channels] uint8.

    Raises:
      ValueError: `decoder` is unknown, `size` is no size, or `data` is not an image or is cut off.
      OSError: `data` is cut off or damaged.
    """
    check_choice("decoder", decoder, DECODERS)
    size = target_size(size, "size")
    image = (decode_box_by_pillow if decoder == "pillow" else _by_opencv)(data, choose, size, channels, orient)
    return image if image.ndim == 3 else image[..., None]


def random_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """Draw a random box of whole pixels, as Inception's random resized crop.

    A box that does not fit into the image is drawn again, up to ten draws in all; then the largest central box of an
    allowed ratio is taken.

    Args:
      rng: NumPy random generator.
      height: height of the image in pixels.
      width: width of the image in pixels.
      area: (low, high) of the box's area as a fraction of the image's, drawn uniformly.
      ratio: (low, high) of width / height, drawn log-uniformly.

    Returns:
      The box, in pixels of the image.
    """
    check_whole_number("height", height, 1)
    check_whole_number("width", width, 1)
    for name, span, high in (("area", area, 1), ("ratio", ratio, math.inf)):
        check_pair(name, span)
        if not 0 < span[0] <= span[1] <= high or span[1] == math.inf:
            raise ValueError(f"{name}={span}: no range; allowed: ascending, above 0" + ", at most 1" * (high == 1))
    for _ in range(_TRIES):
        target = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    h, w = max(1, min(height, round(width / aspect))), max(1, min(width, round(height * aspect)))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def _by_opencv(data: bytes, choose: Callable, size: tuple[int, int], channels: int, orient: bool) -> np.ndarray:
    cv2 = _opencv()
    with open_image(io.BytesIO(data)) as header:
        plain = header.format in _PLAIN and header.mode in ("L", "RGB") and "transparency" not in header.info
        turn = orientation(header) if orient else 1
    if not plain or (header.format == "PNG" and b"eXIf" in data):
        return decode_box_by_pillow(data, choose, size, channels, orient)
    if data[:2] == b"\xff\xd8" and not _is_whole_jpeg(data):
        raise ValueError("the JPEG is cut off")  # OpenCV would fill the rest with gray and say nothing
    flags = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return decode_box_by_pillow(data, choose, size, channels, orient)  # it reads the image, or says what is wrong
    image = _turned(image, turn)
    box = choose(*image.shape[:2])
    top, left = round(box.top), round(box.left)
    cut = image[top : round(box.top + box.height), left : round(box.left + box.width)]
    shrinks = min(cut.shape[0] / size[0], cut.shape[1] / size[1]) >= 2
    image = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.flip(image, 1) if box.mirrored else image


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    """Rotate [H, W, ...] as the EXIF orientation `turn` says: 5 to 8 swap the axes, then each is reversed or not."""
    image = image.swapaxes(0, 1) if turn >= 5 else image
    down, across = (-1 if turn in numbers else 1 for numbers in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(image[::down, ::across])


def _is_whole_jpeg(data: bytes) -> bool:
    """Return whether the main picture has its end marker; that of a thumbnail, or bytes after the end, do not count."""
    offset = 2
    while marker := _JPEG_MARKER.search(data, offset):
        kind, offset = data[marker.end() - 1], marker.end()
        if kind == 0xD9:
            return True
        offset += int.from_bytes(data[offset : offset + 2], "big")  # a segment's length; after SOS pixels follow
    return False


def _opencv():
    require("cv2", what="decoder='opencv'")
    import cv2

    cv2.setNumThreads(1)
    return cv2
