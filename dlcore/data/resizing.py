"""Resizing that keeps the aspect ratio, as torchvision's detectors do, and padding to one canvas.

`shortest_edge:S,L` scales an image of h by w pixels by

    s = min(S / min(h, w), L / max(h, w))        to floor(s h) by floor(s w)

bilinearly without antialiasing, and puts it into the upper left corner of a canvas that is the same for all images, so
that one compiled program serves them all. Sizes equal those of torchvision's `GeneralizedRCNNTransform`, and pixels
differ by at most half a gray level, because they are rounded to uint8.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.image_headers import target_size

__all__ = ["STRIDE", "ShortestEdge", "check_resize", "resize_bilinear", "shortest_edge"]

STRIDE = 32
"""By default the sides of a canvas are multiples of STRIDE, which torchvision calls `size_divisible`."""

_FORM = re.compile(r"shortest_edge:(\d+),(\d+)")
_ALLOWED = "allowed: stretch, or shortest_edge:S,L (shorter side of S pixels, longer side of at most L)"


class ShortestEdge(NamedTuple):
    """Resizing by the shorter side, with padding.

    Args:
      shortest: S, pixels of the shorter side, unless the longer one would exceed L.
      longest: L, maximum number of pixels of the longer side.
      canvas: (H, W) in pixels that every image is padded to.
    """

    shortest: int
    longest: int
    canvas: tuple[int, int]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Compute the size that an image is resized to.

        Args:
          height: height of the image in pixels.
          width: width of the image in pixels.

        Returns:
          (height, width) in pixels, each at least 1.
        """
        check_whole_number("height", height, 1)
        check_whole_number("width", width, 1)
        scale = min(self.shortest / min(height, width), self.longest / max(height, width))
        size = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
        if size[0] > self.canvas[0] or size[1] > self.canvas[1]:
            raise ValueError(f"canvas={self.canvas}: an image becomes {size[0]} by {size[1]}; allowed: at least that")
        return size

    def fitted(self, height: int, width: int) -> "ShortestEdge":
        """Choose the smallest canvas for one image: the one that torchvision pads a batch of this image to.

        Args:
          height: height of the image in pixels.
          width: width of the image in pixels.

        Returns:
          The same resizing with a canvas whose sides are multiples of `STRIDE`.
        """
        size = self.size(height, width)
        return self._replace(canvas=(-(-size[0] // STRIDE) * STRIDE, -(-size[1] // STRIDE) * STRIDE))

    def place(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Resize an image and pad it with zeros at the right and at the bottom.

        Args:
          image: [h, w, C] uint8.

        Returns:
          (padded image [H, W, C] uint8, (height, width) of the part that is not padding).
        """
        size = self.size(*image.shape[:2])
        canvas = np.zeros((*self.canvas, image.shape[2]), np.uint8)
        canvas[: size[0], : size[1]] = resize_bilinear(image, size)
        return canvas, size


def check_resize(value: str) -> None:
    """Check the value of `--resize`.

    Args:
      value: "stretch", or "shortest_edge:S,L" with 0 < S <= L.
    """
    _read(value)


def _read(value: str) -> tuple[int, int] | None:
    """(S, L); None for stretch."""
    if value == "stretch":
        return None
    if not isinstance(value, str) or not (match := _FORM.fullmatch(value)):
        raise ValueError(f"resize={value}: unknown; {_ALLOWED}")
    shortest, longest = map(int, match.groups())
    if not 0 < shortest <= longest:
        raise ValueError(f"resize={value}: S={shortest} and L={longest}; allowed: 0 < S <= L")
    return shortest, longest


def shortest_edge(value: str, canvas: tuple[int, int] | None = None) -> ShortestEdge | None:
    """Parse the values of `--resize` and `--canvas`.

    Args:
      value: "stretch", or "shortest_edge:S,L" with 0 < S <= L.
      canvas: (H, W) in pixels; None takes a square that holds every resized image: L, rounded up to a multiple of
        `STRIDE`.

    Returns:
      The resizing; None for stretch.
    """
    canvas = None if canvas is None else target_size(canvas, "canvas")
    if (sides := _read(value)) is None:
        if canvas is not None:
            raise ValueError(f"canvas={canvas[0]},{canvas[1]}: resize=stretch pads nothing; allowed: none")
        return None
    shortest, longest = sides
    if canvas is None:
        canvas = (-(-longest // STRIDE) * STRIDE,) * 2
    if min(canvas) < shortest or max(canvas) < longest:
        raise ValueError(f"{canvas=}: too small for resize={value}; allowed: from {shortest}, one from {longest}")
    return ShortestEdge(shortest, longest, (canvas[0], canvas[1]))


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image bilinearly without antialiasing, as torch's `interpolate(align_corners=False)` does.

    Args:
      image: [H, W, C] uint8 or float.
      size: (h, w) of the result.

    Returns:
      Resized image [h, w, C]: uint8 (rounded) if `image` is uint8, else float32; `image` itself if it has the size.
    """
    size = target_size(size, "size")
    image = np.asarray(image)
    if image.ndim != 3 or 0 in image.shape[:2]:
        raise ValueError(f"image.shape={image.shape}: no image; allowed: [H, W, C], of at least one pixel")
    if image.shape[:2] == tuple(size):
        return image
    x = image.astype(np.float32)
    for axis in (0, 1):
        length, target = image.shape[axis], size[axis]
        center = np.maximum((np.arange(target) + 0.5) * (length / target) - 0.5, 0)
        first = np.floor(center).astype(int)
        weight = (center - first).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        x = x.take(first, axis) * (1 - weight) + x.take(np.minimum(first + 1, length - 1), axis) * weight
    return np.round(x).astype(np.uint8) if image.dtype == np.uint8 else x
