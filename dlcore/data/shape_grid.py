"""Images of colored shapes in a grid of cells, one a cell, of which captions and questions are made."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlcore.data.scenes import covers

__all__ = ["COLORS", "Placed", "cell_names", "cell_shares", "check_grid", "draw_shapes", "paint"]

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 50),
    "blue": (50, 80, 230),
    "yellow": (240, 220, 40),
    "purple": (160, 50, 190),
    "cyan": (60, 210, 220),
}
"""Name -> RGB; in an image each color varies by up to 15."""


class Placed(NamedTuple):
    """A shape in a cell.

    Args:
      color: of COLORS.
      shape: of `dlcore.data.scenes.SHAPES`.
      cell: row by row from the top left, 0 to grid^2 - 1.
    """

    color: str
    shape: str
    cell: int


def check_grid(size: int, grid: int) -> None:
    """Check that cells are large enough to tell shapes apart.

    Args:
      size: side of the image in pixels.
      grid: cells in a row and in a column.

    Raises:
      ValueError: a cell is narrower than 8 pixels, or there are fewer than two in a row.
    """
    if grid < 2:
        raise ValueError(f"grid={grid}: too few cells; allowed: at least 2")
    if size < 8 * grid:
        raise ValueError(f"size={size}: a cell is narrower than 8 pixels; allowed: at least {8 * grid}")


def cell_names(grid: int) -> tuple[str, ...]:
    """Name the cells of a grid of two or three rows: "top left", "top", ..., "bottom right".

    Args:
      grid: 2 or 3.

    Returns:
      A name a cell.

    Raises:
      ValueError: `grid` is another number.
    """
    if grid not in (2, 3):
        raise ValueError(f"grid={grid}: its cells have no names; allowed: 2, 3")
    rows, columns = ("top", "bottom"), ("left", "right")
    if grid == 3:
        rows, columns = ("top", "", "bottom"), ("left", "", "right")
    return tuple(f"{row} {column}".strip() or "center" for row in rows for column in columns)


def cell_shares(grid: int, height: int, width: int) -> np.ndarray:
    """Measure how much of each position of a feature map lies in each cell: what an attention map puts on a cell.

    Args:
      grid: cells in a row and in a column.
      height: of the map.
      width: of the map.

    Returns:
      [grid^2, height, width] in [0, 1]; over cells they add up to 1.
    """

    def along(size):
        edges = np.arange(size + 1) * grid / size
        low, high = (np.clip(edges, k, k + 1) for k in range(grid)), np.diff(edges)
        return np.stack([np.diff(part) / high for part in low])

    return (along(height)[:, None, :, None] * along(width)[None, :, None, :]).reshape(grid**2, height, width)


def draw_shapes(rng: np.random.Generator, shapes: Sequence[Placed], size: int, grid: int) -> np.ndarray:
    """Draw shapes in their cells on a gray background, with noise; place, size and color vary a little.

    Args:
      rng: of the variation.
      shapes: one a cell.
      size: side of the image in pixels.
      grid: cells in a row and in a column.

    Returns:
      [size, size, 3] uint8.
    """
    side = size / grid
    canvas = np.full((size, size, 3), rng.uniform(90, 150), np.float32)
    for placed in shapes:
        radius = side / 2 * rng.uniform(0.72, 0.95)
        slack = side / 2 - radius
        x, y = (np.array([placed.cell % grid, placed.cell // grid]) + 0.5) * side + rng.uniform(-slack, slack, 2)
        paint(canvas, placed.shape, np.add(COLORS[placed.color], rng.uniform(-15, 15, 3)), (x, y), radius)
    return (canvas + rng.normal(0, 6, canvas.shape)).clip(0, 255).astype(np.uint8)


def paint(
    canvas: np.ndarray,
    shape: str,
    color: np.ndarray,
    center: tuple[float, float],
    radius: float,
    wrap: bool = False,
) -> np.ndarray:
    """Paint one shape, by the centers of the pixels that it covers.

    Args:
      canvas: [H, W, 3] float, changed in place.
      shape: of `dlcore.data.scenes.SHAPES`.
      color: [3].
      center: (x, y) in pixels.
      radius: in pixels.
      wrap: whether what leaves the canvas on one side enters on the other.

    Returns:
      [H, W] bool, the pixels painted.
    """
    height, width = canvas.shape[:2]
    dx, dy = np.arange(width) + 0.5 - center[0], np.arange(height) + 0.5 - center[1]
    if wrap:
        dx, dy = (dx + width / 2) % width - width / 2, (dy + height / 2) % height - height / 2
    columns, rows = (np.flatnonzero(abs(d) <= radius) for d in (dx, dy))
    inside = np.zeros((height, width), bool)
    inside[rows[:, None], columns] = covers(shape, dx[columns] / radius, dy[rows, None] / radius)
    canvas[inside] = color
    return inside
