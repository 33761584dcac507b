"""A convolution's kernel as a picture: one tile per filter."""

from typing import Any

import jax
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, stretch

__all__ = ["GAP", "filter_grid", "filters", "first_kernel"]

GAP = 6
"""Transparent pixels between two tiles."""
_TILE = 44


def filters(kernel: np.ndarray, title: str = "First-layer filters", max_tiles: int = 256) -> Panel:
    """Show a convolution's filters as a grid of tiles, each scaled to its own range (see `filter_grid`).

    Args:
      kernel: [kh, kw, cin, cout].
      title: title of the panel.
      max_tiles: largest number of tiles.

    Returns:
      The panel.
    """
    kernel = np.asarray(kernel, np.float32)
    _check_kernel(kernel)
    scale = max(1, round(_TILE / max(kernel.shape[:2])))
    grid = filter_grid(kernel, max_tiles, scale)
    kh, kw, cin, cout = kernel.shape
    kind = "red, green and blue are the three inputs" if cin == 3 else "mid-gray is 0"
    total = cout if cin == 3 else cin * cout
    shown_tiles = f"the first {max_tiles} of {total:,} tiles" if total > max_tiles else f"{total} tiles"
    subtitle = f"{cout} filters of {kh} × {kw} × {cin}; {shown_tiles}, each in its own range; {kind}."
    html = f'<img class="tiles" alt="filters" width="{grid.shape[1]}" src="{data_uri(grid)}">'
    return Panel(title, html, subtitle, half=True)


def filter_grid(kernel: np.ndarray, max_tiles: int = 256, scale: int = 1) -> np.ndarray:
    """Tile a kernel, `GAP` transparent pixels apart.

    With three input channels a tile is a filter in color, from its smallest value (black) to its largest (bright).
    Otherwise each input channel of each filter is a tile: 0 is mid-gray, the largest magnitude black or white.

    Args:
      kernel: [kh, kw, cin, cout].
      max_tiles: largest number of tiles.
      scale: side of one weight's square in pixels.

    Returns:
      uint8 [H, W, 4].
    """
    kernel = np.asarray(kernel)
    _check_kernel(kernel)
    check_whole_number("max_tiles", max_tiles, 1)
    check_whole_number("scale", scale, 1)
    kh, kw, cin, _ = kernel.shape
    if cin == 3:
        tiles = [stretch(tile) for tile in kernel.transpose(3, 0, 1, 2)[:max_tiles]]
    else:
        flat = kernel.transpose(3, 2, 0, 1).reshape(-1, kh, kw, 1)[:max_tiles]
        tiles = [np.broadcast_to(_around_zero(tile), (kh, kw, 3)) for tile in flat]
    columns = _columns(len(tiles), cin)
    rows = -(-len(tiles) // columns)
    height, width = kh * scale, kw * scale
    grid = np.zeros((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 4), np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (number // columns) * (height + GAP) + GAP, (number % columns) * (width + GAP) + GAP
        grid[y : y + height, x : x + width, :3] = np.rint(255 * tile).repeat(scale, 0).repeat(scale, 1)
        grid[y : y + height, x : x + width, 3] = 255
    return grid


def _check_kernel(kernel: np.ndarray) -> None:
    if kernel.ndim != 4 or not kernel.size:
        raise ValueError(f"kernel={kernel.shape}: wrong shape; allowed: [kh, kw, cin, cout], each at least 1")
    check_finite("kernel", kernel)


def first_kernel(params: Any) -> np.ndarray | None:
    """Return the kernel of the first convolution.

    Args:
      params: parameters of a model.

    Returns:
      [h, w, C_in, C_out], the kernel with the fewest input channels; None if no convolution is larger than 1x1.
    """
    kernels = [x for x in jax.tree.leaves(params) if x.ndim == 4 and x.shape[0] > 1]
    return np.asarray(min(kernels, key=lambda k: k.shape[2])) if kernels else None


def _columns(tiles: int, cin: int) -> int:
    """Compute the columns: one row per filter if its input channels are tiles and fit, else twice as wide as high."""
    if cin not in (1, 3) and cin <= 32:
        return min(cin, tiles)
    target = max(8, int(np.ceil(np.sqrt(2 * tiles))))
    full = [n for n in range(8, 2 * target) if tiles % n == 0]
    return min(full, key=lambda n: abs(n - target)) if full else min(tiles, target)


def _around_zero(image: np.ndarray) -> np.ndarray:
    largest = np.abs(image).max()
    return 0.5 + 0.5 * image / largest if largest > 0 else np.full_like(image, 0.5)
