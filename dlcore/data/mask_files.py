"""Class masks in image files: read the numbers that the file holds, without conversion.

A mask has one channel, the number of each pixel's class: gray of 1 to 16 bits, 32-bit integers, or the indices of a
palette image. Pillow rescales gray of 2 and 4 bits, and a PGM whose maximum is not 255, to 0 to 255; this is undone. A
mask is rotated as its own EXIF orientation says.
"""

import io
from typing import Any

import numpy as np

from dlcore.data.image_pixels import apply_orientation, open_image

__all__ = ["decode_mask", "lossy_format"]

_LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")


def decode_mask(data: bytes) -> np.ndarray:
    """Decode a class mask.

    Args:
      data: bytes of the encoded image.

    Returns:
      [H, W] int32, the numbers that the file holds.

    Raises:
      ValueError: `data` is not an image, has several channels or floating-point pixels, or a lossy format.
      OSError: the file is cut off or damaged.
    """
    with open_image(io.BytesIO(data)) as image:
        if kind := lossy_format(image, data):
            raise ValueError(f"a mask in {kind}, which does not keep numbers; allowed: PNG, or another without loss")
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise ValueError(f"a mask of mode {image.mode}; allowed: one channel, the number of each pixel's class")
        spread = _spread(image, data)
        values = np.asarray(apply_orientation(image)).astype(np.int32)
    return values if spread is None else np.rint(values / spread).astype(np.int32)


def lossy_format(image: Any, data: bytes) -> str | None:
    """Name the format of an image file that does not keep the numbers of its pixels.

    Args:
      image: Pillow image, opened.
      data: bytes of the file.

    Returns:
      The format; None for one without loss.
    """
    if image.format in _LOSSY:
        return image.format
    if image.format == "WEBP" and b"VP8L" not in data[:64]:
        return "lossy WebP"
    return "a TIFF by JPEG or WebP" if image.info.get("compression") in _LOSSY_TIFF else None


def _spread(image: Any, data: bytes) -> float | None:
    """Return the factor by which Pillow multiplies the numbers of a gray image; None for 1."""
    if image.mode == "P" or image.mode == "1":
        return None
    if image.format == "PNG" and data[25] == 0 and data[24] < 8:  # IHDR: color type gray, bit depth
        return 255 / (2 ** data[24] - 1)
    if image.format == "TIFF" and (bits := image.tag_v2.get(258, (8,))[0]) < 8:  # BitsPerSample
        return 255 / (2**bits - 1)
    if image.format == "PPM" and isinstance(image.tile[0].args, tuple):
        return (255 if image.mode == "L" else 65535) / image.tile[0].args[-1]
    return None
