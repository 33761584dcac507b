"""One encoded image to uint8 pixels of a fixed size: a random crop to train on, the centre to measure.

    train:    a box of area a H W, a ~ U(area), and aspect r, log r ~ U(log ratio), anywhere, scaled to (h, w)
    measure:  the image scaled until it covers (h, w) / crop_pct, its centre (h, w) cut out

Szegedy et al. 2014, arXiv:1409.4842 (the random box); Krizhevsky, Sutskever & Hinton 2012 (256, then 224: a crop_pct of
0.875, as timm calls it).

Both are one resize of a box: nothing is computed that is cut off afterwards. With Pillow the resize is bilinear and
antialiased and the centre equals torchvision's Resize and CenterCrop to one grey level. A random box is resized with
the pixels around it in sight, where torchvision cuts first: its outermost pixels differ. A JPEG that is to shrink four
times or more is decoded at a half, a quarter or an eighth of its size (Pillow's draft), never below twice the target.
"""

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dlcore.data.images import oriented, pixels_of

__all__ = ["DECODERS", "Box", "centre_box", "centre_crop", "decode_box", "random_box"]

DECODERS = ("pillow", "opencv")
_GAP = 2.0
_TRIES = 10


class Box(NamedTuple):
    """A part of an image, in its pixels; fractions are allowed. mirrored: left and right change places."""

    top: float
    left: float
    height: float
    width: float
    mirrored: bool = False


def centre_box(height: int, width: int, size: tuple[int, int], crop_pct: float = 0.875) -> Box:
    """The part of an image [height, width] that its centre crop of `size` shows: scaled to cover size / crop_pct, cut.

    500 x 375 to 224: the short side becomes 256, the long one 341, and 224 / 341 of the width are kept.
    """
    rows, columns = (int(side / crop_pct) for side in size)
    if rows * width >= columns * height:
        scaled = (rows, max(int(rows * width / height), size[1]))
    else:
        scaled = (max(int(columns * height / width), size[0]), columns)
    top, left = round((scaled[0] - size[0]) / 2), round((scaled[1] - size[1]) / 2)
    down, across = height / scaled[0], width / scaled[1]
    return Box(top * down, left * across, size[0] * down, size[1] * across)


def random_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A box of whole pixels whose share of the image and width / height are drawn from `area` and `ratio`.

    A draw that does not fit is repeated, ten times in all; then the largest central box of an allowed ratio is taken.
    """
    for _ in range(_TRIES):
        target = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    h, w = max(1, min(height, round(width / aspect))), max(1, min(width, round(height * aspect)))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def decode_box(
    data: bytes,
    find: Callable[[int, int], Box],
    size: tuple[int, int],
    channels: int = 3,
    decoder: Literal["pillow", "opencv"] = "pillow",
    orient: bool = True,
) -> np.ndarray:
    """`[h, w, channels] uint8` of size (h, w): the box `find(height, width)` of the encoded image `data`.

    decoder: "opencv" reads a box that shrinks less than twice bilinearly without antialiasing, as tf.image.resize does,
        and averages over the area beyond; it is faster and its pixels are others.
    orient: turn the image as its EXIF orientation says.

    Raises: ValueError or OSError for bytes that are no whole image; ImportError where OpenCV is not installed.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder is {decoder!r}; allowed are {', '.join(DECODERS)}")
    image = (_by_pillow if decoder == "pillow" else _by_opencv)(data, find, size, channels, orient)
    return image if image.ndim == 3 else image[..., None]


def centre_crop(path: str | Path, size: tuple[int, int], channels: int = 3, crop_pct: float = 0.875) -> np.ndarray:
    """`[h, w, channels] uint8`, the centre of one file as `centre_box` has it. Raises ValueError naming a bad file."""
    try:
        return decode_box(Path(path).read_bytes(), partial(centre_box, size=size, crop_pct=crop_pct), size, channels)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _by_pillow(data: bytes, find: Callable, size: tuple[int, int], channels: int, orient: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        turned = orient and oriented(image)
        height, width = image.size if turned else image.size[::-1]
        box = find(height, width)
        reduce = min(box.height / size[0], box.width / size[1]) / _GAP
        if image.format == "JPEG" and reduce >= 2:
            image.draft(None, (math.ceil(image.width / reduce), math.ceil(image.height / reduce)))
        image = pixels_of(image, channels, orient, grey_stays=True)
        down, across = image.height / height, image.width / width
        left, top = box.left * across, box.top * down
        right, bottom = left + box.width * across, top + box.height * down
        limits = (left, top, min(right, image.width), min(bottom, image.height))
        image = image.resize(size[::-1], Image.Resampling.BILINEAR, box=limits, reducing_gap=_GAP)
        if box.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if channels == 3 and image.mode == "L":
            image = image.convert("RGB")
        return np.asarray(image)


def _by_opencv(data: bytes, find: Callable, size: tuple[int, int], channels: int, orient: bool) -> np.ndarray:
    cv2 = _opencv()
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-64:]:
        raise ValueError("the JPEG is cut off")  # OpenCV would fill the rest with grey and say nothing
    flags = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags if orient else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("OpenCV does not know its format; decoder 'pillow' may")
    box = find(*image.shape[:2])
    top, left = round(box.top), round(box.left)
    cut = image[top : round(box.top + box.height), left : round(box.left + box.width)]
    shrinks = min(cut.shape[0] / size[0], cut.shape[1] / size[1]) >= 2
    image = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.flip(image, 1) if box.mirrored else image


def _opencv():
    try:
        import cv2
    except ImportError as error:
        raise ImportError("decoder 'opencv' needs OpenCV: pip install 'dlcore[input]'") from error
    cv2.setNumThreads(1)
    return cv2
