"""Image files to uint8 arrays of one size, by Pillow."""

import os
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = [
    "EXTENSIONS", "decode", "header", "is_image", "list_images", "load_image", "oriented", "pixels_of", "target_size"
]  # fmt: skip

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def load_image(path: str | Path, size: int | tuple[int, int] | None = None, channels: int = 3) -> np.ndarray:
    """One file as `[H, W, C] uint8`; see `decode`.

    Raises: FileNotFoundError; ValueError naming a file that is not a readable image.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path is {str(path)!r}: there is no such file")
    try:
        return decode(Path(path), size, channels)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def list_images(path: str | Path) -> list[Path]:
    """The image files below a folder, sorted, hidden ones left out; a file stands for itself.

    Raises: FileNotFoundError for a path that does not exist, ValueError where it holds no image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"path is {str(path)!r}: there is no such file or folder")
    found = []
    for folder, _, names in os.walk(path, followlinks=True):
        below = Path(folder).relative_to(path)
        found += [path / below / name for name in names if is_image((below / name).parts)]
    if not found:
        raise ValueError(f"path is {str(path)!r}: it holds no image ({', '.join(EXTENSIONS)})")
    return sorted(found)


def is_image(parts: tuple[str, ...]) -> bool:
    """Whether a relative path, as its parts, names an image that is neither hidden nor macOS's resource fork."""
    visible = not any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return visible and parts[-1].lower().endswith(EXTENSIONS)


def target_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W) for a side or a pair. Raises ValueError for anything but positive ints."""
    size = tuple(image_size) if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"image_size is {image_size!r}; it must be a positive int or a pair (height, width) of them")
    return size


def header(file: Path | IO[bytes]) -> tuple[tuple[int, int], bool]:
    """((H, W) after the EXIF orientation, whether it is grey), without decoding the pixels."""
    from PIL import Image

    with Image.open(file) as image:
        width, height = image.size[::-1] if oriented(image) else image.size
        return (height, width), image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def decode(file: Path | IO[bytes], size: int | tuple[int, int] | None, channels: int) -> np.ndarray:
    """`[H, W, C] uint8`, turned as its EXIF orientation says.

    size: the image is scaled (bilinear, antialiased) until it just covers (H, W), and its centre is cut out; a
        number s is (s, s): the short side becomes s. None keeps the size.
    channels: 1 (grey, ITU-R 601 luma) or 3 (RGB; transparency is dropped, grey is repeated). 16-bit grey is divided
        by 257; of an animation the first frame counts.
    """
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = pixels_of(opened, channels)
    if size is not None:
        height, width = target_size(size)
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    pixels: Any = np.asarray(image, np.uint8)
    return pixels[..., None] if channels == 1 else pixels


def oriented(image: Any) -> bool:
    """Whether the EXIF orientation of an opened image lays it on its side, without decoding the pixels."""
    from PIL import ExifTags, Image

    # Not image.getexif(): that of a PNG decodes the pixels.
    return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) >= 5


def pixels_of(image: Any, channels: int, orient: bool = True, grey_stays: bool = False) -> Any:
    """An opened Pillow image as one of mode L (channels 1) or RGB (3), as `decode` says; it may be changed in place.

    grey_stays: leave mode L as it is for 3 channels too, for the caller to repeat.

    Raises: ValueError for other channels and for floating images; OSError for pixels that cannot be decoded.
    """
    from PIL import Image, ImageOps

    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}; 1 and 3 are allowed")
    if orient:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":
        raise ValueError("32-bit floating images are not supported; 8 and 16 bits are")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted or (grey_stays and image.mode == "L") else image.convert(wanted)
