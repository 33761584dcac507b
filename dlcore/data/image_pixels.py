"""The one door for pictures: every file that becomes pixels is opened here, turned upright and brought to 8 bits.

`decode_image` and `decode_box` of `dlcore.data.decoding`, `read_header` and `decode_mask` are built on it, and all
readers of data on those: a file gives the same pixels, or the same error, wherever it lies.

    turned      as the EXIF orientation says (1 to 8); an EXIF block that cannot be read counts as none
    8 bits      gray of b = 9 to 16 bits becomes v * 255 // (2^b - 1); 1 bit becomes 0 and 255
    refused     32-bit integers and floats, whose range no file states; files that are cut off; more pixels than twice
                PIL.Image.MAX_IMAGE_PIXELS (a decompression bomb)
"""

from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["is_sideways", "opened", "orientation", "to_pixels", "upright"]


def opened(file: Path | IO[bytes]) -> Any:
    """Open an image without decoding its pixels.

    Args:
      file: path, or file opened for reading bytes.

    Returns:
      The Pillow image, a context manager.

    Raises:
      ValueError: the file is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise ValueError("no image, or of a format that Pillow does not read") from None


def orientation(image: Any) -> int:
    """Read how an image is to be turned, without decoding its pixels.

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
    """Tell whether height and width of an opened image change places when it is turned upright.

    Args:
      image: Pillow image, opened, its pixels not yet decoded.

    Returns:
      True for orientations 5 to 8; not for a TIFF, which Pillow turns itself and whose size it swaps.
    """
    return image.format != "TIFF" and orientation(image) >= 5


def upright(image: Any) -> Any:
    """Decode an opened image and turn it as its EXIF orientation says.

    Args:
      image: Pillow image, opened.

    Returns:
      The Pillow image.

    Raises:
      OSError: the file is cut off or damaged.
    """
    from PIL import Image

    image.load()  # a PNG may state its orientation behind the pixels
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


def to_pixels(image: Any, channels: int, orient: bool = True, keep_gray: bool = False) -> Any:
    """Decode an opened image to 8 bits.

    Args:
      image: Pillow image, opened.
      channels: 1 (gray, ITU-R 601 luma) or 3 (RGB; transparency is dropped, gray is repeated).
      orient: turn it as its EXIF orientation says.
      keep_gray: leave a gray image gray, for the caller to repeat.

    Returns:
      The Pillow image, of mode L or RGB.

    Raises:
      ValueError: `channels` is another, or the pixels are 32-bit integers or floats.
      OSError: the file is cut off or damaged.
    """
    from PIL import Image

    if channels not in (1, 3):
        raise ValueError(f"channels={channels!r}: unknown; allowed: 1, 3")
    bits = _gray_bits(image)
    if orient:
        image = upright(image)
    if bits:
        gray = np.asarray(image).astype(np.int64).clip(0, 2**bits - 1) * 255 // (2**bits - 1)
        image = Image.fromarray(gray.astype(np.uint8))
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode or (keep_gray and image.mode == "L") else image.convert(mode)


def _gray_bits(image: Any) -> int | None:
    """Bits of a gray image that has more than 8; None of others."""
    if image.mode == "F":
        raise ValueError("32-bit floating-point images are not supported; allowed: 8 and 16 bits")
    if not image.mode.startswith("I"):
        return None
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # of these two Pillow gives 16 bits as 32
        raise ValueError("32-bit integer images are not supported; allowed: 8 and 16 bits")
    stated = image.tag_v2.get(258, (16,)) if image.format == "TIFF" else (16,)  # 258: BitsPerSample
    return int(stated[0])
