"""Resizing that keeps the aspect ratio, as torchvision's detectors do, and padding to one canvas.

With S and L pixels, an image of h by w is scaled by

    s = min(S / min(h, w), L / max(h, w))        to floor(s h) by floor(s w)

bilinearly without antialiasing, and lies in the upper left corner of a canvas that is the same for all images, so that
one compiled program serves them all. Sizes equal those of torchvision's `GeneralizedRCNNTransform`, and pixels to half
a gray level (they are rounded to uint8).
"""

import math
import re
from typing import NamedTuple

import numpy as np

__all__ = ["STRIDE", "ShortestEdge", "check_resize", "resize_bilinear", "shortest_edge"]

STRIDE = 32
"""Sides of a canvas are multiples of it by default, torchvision's `size_divisible`."""

_FORM = re.compile(r"shortest_edge:(\d+),(\d+)")
_ALLOWED = "allowed: stretch, or shortest_edge:S,L with S of the shorter side and L of the longer one at most"


class ShortestEdge(NamedTuple):
    """A resizing by the shortest edge.

    Args:
      shortest: S, pixels of the shorter side.
      longest: L, pixels of the longer side at most.
      canvas: (H, W) that every image is padded to.
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
          (height, width), at least a pixel each.

        Raises:
          ValueError: the canvas is too small for it.
        """
        scale = min(self.shortest / min(height, width), self.longest / max(height, width))
        size = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
        if size[0] > self.canvas[0] or size[1] > self.canvas[1]:
            raise ValueError(
                f"canvas={self.canvas[0]},{self.canvas[1]}: an image of {height} by {width} becomes {size[0]} by "
                f"{size[1]}; allowed: at least that"
            )
        return size

    def fitted(self, height: int, width: int) -> "ShortestEdge":
        """Choose the least canvas for one image, which is torchvision's for a batch of it alone.

        Args:
          height: height of the image in pixels.
          width: width of the image in pixels.

        Returns:
          The same resizing, with a canvas of multiples of `STRIDE`.

        Raises:
          ValueError: the canvas is too small for it.
        """
        size = self.size(height, width)
        return self._replace(canvas=(-(-size[0] // STRIDE) * STRIDE, -(-size[1] // STRIDE) * STRIDE))

    def place(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Resize an image and pad it with zeros on the right and below.

        Args:
          image: [h, w, C] uint8.

        Returns:
          (canvas [H, W, C] uint8, (height, width) of the image on it).

        Raises:
          ValueError: the canvas is too small for it.
        """
        size = self.size(*image.shape[:2])
        canvas = np.zeros((*self.canvas, image.shape[2]), np.uint8)
        canvas[: size[0], : size[1]] = resize_bilinear(image, size)
        return canvas, size


def check_resize(value: str) -> None:
    """Check the text of a resizing.

    Args:
      value: stretch, or shortest_edge:S,L.

    Raises:
      ValueError: it is neither, or S is above L or 0.
    """
    _read(value)


def _read(value: str) -> tuple[int, int] | None:
    """(S, L); None for stretch."""
    if value == "stretch":
        return None
    if not (match := _FORM.fullmatch(value)):
        raise ValueError(f"resize={value}: unknown; {_ALLOWED}")
    shortest, longest = map(int, match.groups())
    if not 0 < shortest <= longest:
        raise ValueError(f"resize={value}: S={shortest} and L={longest}; allowed: 0 < S <= L")
    return shortest, longest


def shortest_edge(value: str, canvas: tuple[int, int] | None = None) -> ShortestEdge | None:
    """Read a resizing and its canvas.

    Args:
      value: stretch, or shortest_edge:S,L.
      canvas: (H, W); None for the longest side, rounded up to a multiple of `STRIDE`, both ways: it holds every image.

    Returns:
      The resizing; None for stretch.

    Raises:
      ValueError: the text is neither, S is above L, or the canvas is too small for a square image or for the longest
        side.
    """
    if (sides := _read(value)) is None:
        if canvas is not None:
            raise ValueError(f"canvas={canvas[0]},{canvas[1]}: resize=stretch pads nothing; allowed: none")
        return None
    shortest, longest = sides
    if canvas is None:
        canvas = (-(-longest // STRIDE) * STRIDE,) * 2
    if min(canvas) < shortest or max(canvas) < longest:
        raise ValueError(
            f"canvas={canvas[0]},{canvas[1]}: too small for resize={value}; allowed: sides of at least {shortest}, one "
            f"of at least {longest}"
        )
    return ShortestEdge(shortest, longest, (canvas[0], canvas[1]))


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image bilinearly without antialiasing, as torch's `interpolate` does (corners not aligned).

    Args:
      image: [H, W, C] uint8 or float.
      size: (h, w) of the result.

    Returns:
      [h, w, C]: float32 of a float image, and rounded to uint8 of a uint8 one.
    """
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
