"""Image decoding: every reader opens files, applies EXIF orientation, converts to 8 bits and resizes here.

All readers of data, `read_header` and `decode_mask` use this module, so that a file gives the same pixels, or the same
error, in every data set. It imports nothing of dlcore, because `--mode=export` copies its text into load.py: an
exported classifier gets the same pixels as in evaluation.

    rotation    as the EXIF orientation says (1 to 8); an EXIF block that cannot be read counts as none
    8 bits      gray of b = 9 to 16 bits becomes v * 255 // (2^b - 1); 1 bit becomes 0 and 255
    errors      32-bit integers and floats, whose range no file states; files that are cut off; more pixels than twice
                PIL.Image.MAX_IMAGE_PIXELS (a decompression bomb)
"""

import io
import math
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

__all__ = [
    "Box",
    "apply_orientation",
    "center_box",
    "decode_box_by_pillow",
    "decode_image",
    "is_sideways",
    "open_image",
    "orientation",
    "resize_box",
    "scale_to_cover",
]

_GAP = 2.0
"""Pillow's `reducing_gap`: an image is first reduced to no less than this multiple of the target size."""
_DRAFTED = ("JPEG", "MPO")
"""Formats that Pillow can decode at a reduced size, and whose headers state size and orientation."""


class Box(NamedTuple):
    """A box in an image, in pixels; fractions of pixels are allowed.

    Args:
      top: distance of the upper edge from the top of the image.
      left: distance of the left edge from the left of the image.
      height: height of the box.
      width: width of the box.
      mirrored: whether to mirror left and right after the resize.
    """

    top: float
    left: float
    height: float
    width: float
    mirrored: bool = False


def open_image(file: Path | IO[bytes]) -> Any:
    """Open an image without decoding its pixels.

    Args:
      file: path, or file opened for reading bytes.

    Returns:
      The Pillow image, a context manager.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise ValueError("not an image, or in a format that Pillow does not read") from None


def orientation(image: Any) -> int:
    """Read the EXIF orientation of an image without decoding its pixels.

    Args:
      image: Pillow image, opened.

    Returns:
      The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read.
    """
    from PIL import ExifTags, Image

    try:
        # Not image.getexif(): that of a PNG decodes the pixels.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in range(1, 9) else 1


def is_sideways(image: Any) -> bool:
    """Return whether the EXIF orientation of an opened image swaps its height and width.

    Args:
      image: Pillow image, opened, its pixels not yet decoded.

    Returns:
      True for orientations 5 to 8; False for a TIFF, whose size and pixels Pillow rotates itself.
    """
    return image.format != "TIFF" and orientation(image) >= 5


def apply_orientation(image: Any) -> Any:
    """Decode an opened image and rotate it as its EXIF orientation says.

    Args:
      image: Pillow image, opened.

    Returns:
      The Pillow image.

    Raises:
      OSError: the file is cut off or damaged.
    """
    from PIL import Image

    image.load()  # a PNG may state its orientation after the pixels
    turns = Image.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation(image) if image.format != "TIFF" else 1)
    return image if turn is None else image.transpose(turn)


def _to_pixels(image: Any, channels: int, orient: bool = True, keep_gray: bool = False) -> Any:
    """Decode an opened image to 8 bits, gray or RGB; with `keep_gray` the caller makes a gray image RGB."""
    from PIL import Image

    if channels not in (1, 3):
        raise ValueError(f"channels={channels!r}: unknown; allowed: 1, 3")
    bits = _gray_bits(image)
    if orient:
        image = apply_orientation(image)
    if bits:
        gray = np.asarray(image).astype(np.int64).clip(0, 2**bits - 1) * 255 // (2**bits - 1)
        image = Image.fromarray(gray.astype(np.uint8))
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode or (keep_gray and image.mode == "L") else image.convert(mode)


def decode_image(file: Path | IO[bytes], size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """Decode a whole image with Pillow, rotated as its EXIF orientation says.

    16-bit gray is divided by 257; of an animation the first frame is decoded.

    Args:
      file: path, or file opened for reading bytes.
      size: (h, w); the image is scaled (bilinear, antialiased) until it just covers this size, and its center is cut
        out. None keeps the size.
      channels: 1 (gray, ITU-R 601 luma) or 3 (RGB; transparency is dropped, gray is repeated).

    Returns:
      [h, w, channels] uint8.

    Raises:
      ValueError: the file is not an image, `size` is no size, `channels` is neither 1 nor 3, or the pixels are 32-bit
        integers or floats.
      OSError: the file is cut off or damaged.
    """
    if size is not None:
        _check_size(size)
    with open_image(file) as image:
        image = _to_pixels(image, channels)
    pixels: Any = np.asarray(image if size is None else scale_to_cover(image, size), np.uint8)
    return pixels[..., None] if channels == 1 else pixels


def scale_to_cover(image: Any, size: tuple[int, int]) -> Any:
    """Scale an image (bilinear, antialiased) until it just covers a size, and cut out its center.

    Args:
      image: Pillow image.
      size: (h, w) of the result.

    Returns:
      The Pillow image; the same object where it already has the size.
    """
    _check_size(size)
    from PIL import Image, ImageOps

    height, width = size
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)


def resize_box(image: Any, box: Box, size: tuple[int, int]) -> Any:
    """Resize a box of an image (bilinear, antialiased).

    Args:
      image: Pillow image.
      box: box in the image; its `mirrored` is ignored.
      size: (h, w) of the result.

    Returns:
      The Pillow image.
    """
    _check_size(size)
    from PIL import Image

    right, bottom = min(box.left + box.width, image.width), min(box.top + box.height, image.height)
    limits = (box.left, box.top, right, bottom)
    return image.resize(size[::-1], Image.Resampling.BILINEAR, box=limits, reducing_gap=_GAP)


def center_box(height: int, width: int, size: tuple[int, int], crop_pct: float = 0.875) -> Box:
    """Return the box of an image that its center crop shows: scaled to cover size / crop_pct, then cut.

    Example: an image 500 wide and 375 high, size 224. The shorter side is scaled to 256 and the longer one to 341; the
    box has 224 / 341 of the width and 224 / 256 of the height.

    Args:
      height: height of the image in pixels.
      width: width of the image in pixels.
      size: (h, w) of the crop.
      crop_pct: side of the crop as a fraction of the scaled image's side, in (0, 1].

    Returns:
      The box, in pixels of the image.
    """
    _check_size(size)
    if not min(height, width) >= 1:
        raise ValueError(f"height={height}, width={width}: no pixel; allowed: at least 1")
    if not 0 < crop_pct <= 1:
        raise ValueError(f"crop_pct={crop_pct}: out of range; allowed: in (0, 1]")
    rows, columns = (int(side / crop_pct) for side in size)
    if rows * width >= columns * height:
        scaled = (rows, max(int(rows * width / height), size[1]))
    else:
        scaled = (max(int(columns * height / width), size[0]), columns)
    top, left = round((scaled[0] - size[0]) / 2), round((scaled[1] - size[1]) / 2)
    down, across = height / scaled[0], width / scaled[1]
    return Box(top * down, left * across, size[0] * down, size[1] * across)


def decode_box_by_pillow(
    data: bytes, choose: Callable[[int, int], Box], size: tuple[int, int], channels: int = 3, orient: bool = True
) -> np.ndarray:
    """Decode one box of an encoded image and resize it, with Pillow.

    Args:
      data: bytes of the encoded image.
      choose: function from the image's (height, width) to the box to decode.
      size: (h, w) of the result.
      channels: 1 (gray) or 3 (RGB).
      orient: rotate the image as its EXIF orientation says.

    Returns:
      [h, w] (gray) or [h, w, 3] uint8.

    Raises:
      ValueError: `data` is not an image, or `size` is no size.
      OSError: `data` is cut off or damaged.
    """
    _check_size(size)
    from PIL import Image

    with open_image(io.BytesIO(data)) as image:
        if image.format in _DRAFTED:
            height, width = image.size if orient and is_sideways(image) else image.size[::-1]
            box = choose(height, width)
            reduce = min(box.height / size[0], box.width / size[1]) / _GAP
            if reduce >= 2:
                image.draft(None, (math.ceil(image.width / reduce), math.ceil(image.height / reduce)))
            image = _to_pixels(image, channels, orient, keep_gray=True)
        else:
            image = _to_pixels(image, channels, orient, keep_gray=True)
            width, height = image.size
            box = choose(height, width)
        image = resize_box(image, _zoomed(box, image.height / height, image.width / width), size)
        if box.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if channels == 3 and image.mode == "L":
            image = image.convert("RGB")
        return np.asarray(image)


def _check_size(size: tuple[int, int]) -> None:
    is_pair = isinstance(size, tuple | list) and len(size) == 2
    if not is_pair or not all(isinstance(side, Integral) and side >= 1 for side in size):
        raise ValueError(f"size={size}: no size; allowed: (height, width), whole numbers of at least 1")


def _zoomed(box: Box, down: float, across: float) -> Box:
    """Return the box in an image that was decoded at a reduced size."""
    return Box(box.top * down, box.left * across, box.height * down, box.width * across, box.mirrored)


def _gray_bits(image: Any) -> int | None:
    """Return the bits per pixel of a gray image that has more than 8; None for other images."""
    if image.mode == "F":
        raise ValueError("32-bit floating-point images are not supported; allowed: 8 and 16 bits")
    if not image.mode.startswith("I"):
        return None
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # Pillow reads 16 bits of these two as mode I
        raise ValueError("32-bit integer images are not supported; allowed: 8 and 16 bits")
    stated = image.tag_v2.get(258, (16,)) if image.format == "TIFF" else (16,)  # 258: BitsPerSample
    return int(stated[0])
