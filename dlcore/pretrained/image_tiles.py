"""Tiles of large images, as LLaVA-NeXT and LLaVA-OneVision lay their features out as tokens.

An image is read as a whole, and in tiles of the published grid that suits its sides best. Of the map of all tiles the
padding is cut off, a new line stands behind each row, and a map that is too large is interpolated.
Liu et al. 2024, "LLaVA-NeXT"; Li et al. 2024, arXiv:2408.03326.
"""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["best_resolution", "feature_layout"]


def best_resolution(height: int, width: int, resolutions: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Choose the sides in which an image keeps most of its pixels, and of those the fewest empty ones.

    Args:
      height: of the image in pixels.
      width: of the image in pixels.
      resolutions: (height, width) in pixels, what may be chosen.

    Returns:
      (height, width) in pixels.
    """

    def quality(sides: Sequence[int]) -> tuple[int, int]:
        scale = min(sides[1] / width, sides[0] / height)
        used = min(int(width * scale) * int(height * scale), width * height)
        return used, used - sides[0] * sides[1]

    best = max(resolutions, key=quality)
    return best[0], best[1]


def _axis(size: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (indices [new, 2], weights [new, 2]) of linear interpolation between centers."""
    x = np.maximum((np.arange(new) + 0.5) * size / new - 0.5, 0)
    low = np.floor(x).astype(int)
    return np.stack([low, np.minimum(low + 1, size - 1)], -1), np.stack([1 - (x - low), x - low], -1)


def feature_layout(
    size: tuple[int, int],
    resolutions: Sequence[Sequence[int]],
    side: int,
    grid: int,
    most_tiles: int | None,
    first: int,
    newline: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Lay out the features of an image.

    Args:
      size: (height, width) of the image in pixels.
      resolutions: see `best_resolution`.
      side: of a tile in pixels.
      grid: patches along the side of a tile.
      most_tiles: tiles whose features a map may have before it is interpolated; None: any.
      first: row of the image's first feature among those of all images.
      newline: row of the new line.

    Returns:
      (rows [M, 4] of features, weights [M, 4], tiles of the image with the one of the whole image).
    """
    down, across = (n // side for n in best_resolution(*size, resolutions))
    height, width = down * grid, across * grid
    top = left = 0
    if size[1] / size[0] > width / height:
        top = (height - int(round(size[0] * (width / size[1]), 7))) // 2
    else:
        left = (width - int(round(size[1] * (height / size[0]), 7))) // 2
    height, width = height - 2 * top, width - 2 * left
    new_height, new_width = height, width
    ratio = 0.0 if most_tiles is None else math.sqrt(height * width / (most_tiles * grid**2))
    if ratio > 1.1:
        new_height, new_width = int(height // ratio), int(width // ratio)
    (rows, row_weights), (columns, column_weights) = _axis(height, new_height), _axis(width, new_width)
    row = top + rows[:, None, :, None]
    column = left + columns[None, :, None, :]
    tile = 1 + (row // grid) * across + column // grid
    index = (first + tile * grid**2 + row % grid * grid + column % grid).reshape(new_height, new_width, 4)
    weights = (row_weights[:, None, :, None] * column_weights[None, :, None, :]).reshape(new_height, new_width, 4)
    index = np.pad(index, ((0, 0), (0, 1), (0, 0)), constant_values=newline).reshape(-1, 4)
    only = np.eye(4)[0]
    weights = np.concatenate([weights, np.broadcast_to(only, (new_height, 1, 4))], 1).reshape(-1, 4)
    whole = np.repeat(first + np.arange(grid**2)[:, None], 4, 1)
    index, weights = np.concatenate([whole, index]), np.concatenate([np.broadcast_to(only, whole.shape), weights])
    return index.astype(np.int32), weights.astype(np.float32), 1 + down * across
