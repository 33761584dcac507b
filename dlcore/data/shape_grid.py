"""Images of colored shapes in a grid of cells, one a cell, of which captions and questions are made."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlcore.data.scenes import covers

__all__ = [
    "COLORS",
    "Placed",
    "cell_names",
    "cell_shares",
    "check_grid",
    "draw_shapes",
    "foreground",
    "paint",
    "read_shapes",
]

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
      color: name from COLORS.
      shape: name of a shape, one of `dlcore.data.scenes.SHAPES`.
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
      height: height of the map.
      width: width of the map.

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
      rng: NumPy generator of the variation.
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
      shape: name of a shape, one of `dlcore.data.scenes.SHAPES`.
      color: [3].
      center: (x, y) in pixels.
      radius: radius in pixels.
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


def foreground(image: np.ndarray, least: float = 60) -> np.ndarray:
    """Find the pixels of shapes: the background is gray, and no shape is.

    Args:
      image: [..., H, W, 3], uint8, or float in [0, 1].
      least: difference between the largest and the smallest channel, of 255.

    Returns:
      [..., H, W] bool.
    """
    pixels = np.asarray(image, np.float32) * (1 if image.dtype == np.uint8 else 255)
    return pixels.max(-1) - pixels.min(-1) > least


def read_shapes(
    image: np.ndarray, grid: int, shapes: Sequence[str] = ("circle", "square", "triangle", "cross"), least: float = 0.6
) -> list[Placed]:
    """Recognize the shapes of an image, the inverse of `draw_shapes`: no network, so that it judges any.

    A cell's colored pixels are compared with every shape of several sizes and places; their mean has the color.

    Args:
      image: [size, size, 3], uint8, or float in [0, 1].
      grid: cells in a row and in a column.
      shapes: shapes that may be there.
      least: intersection over union with the most similar shape; below it a cell counts as empty.

    Returns:
      The shapes, by cell.

    Raises:
      ValueError: cells are no whole number of pixels wide.
    """
    if image.shape[0] % grid or image.shape[1] != image.shape[0]:
        raise ValueError(f"image={image.shape}: cells are no whole pixels; allowed: sides that are multiples of {grid}")
    side = image.shape[0] // grid
    pixels = np.asarray(image, np.float32) * (1 if image.dtype == np.uint8 else 255)
    names, templates = _templates(side, tuple(shapes))
    shape_ids = []
    for cell in range(grid**2):
        y, x = cell // grid * side, cell % grid * side
        part, mask = pixels[y : y + side, x : x + side], foreground(image[y : y + side, x : x + side])
        if mask.sum() < 0.06 * side**2:
            continue
        inside = templates @ mask.reshape(-1).astype(np.float32)
        overlap = inside / (templates.sum(1) + mask.sum() - inside)
        if overlap.max() < least:
            continue
        color = part[mask].mean(0)
        nearest = min(COLORS, key=lambda name: np.square(color - COLORS[name]).sum())
        shape_ids.append(Placed(nearest, names[int(overlap.argmax())], cell))
    return shape_ids


@functools.cache
def _templates(side: int, shapes: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Every shape in several sizes and places: (names [K], [K, side^2] float32)."""
    names, masks = [], []
    for fraction in (0.72, 0.78, 0.84, 0.9, 0.95):
        radius = fraction * side / 2
        slack = side / 2 - radius
        for dx in (-slack, 0, slack):
            for dy in (-slack, 0, slack):
                for shape in shapes:
                    canvas = np.zeros((side, side, 3), np.float32)
                    masks.append(paint(canvas, shape, np.ones(3), (side / 2 + dx, side / 2 + dy), radius).reshape(-1))
                    names.append(shape)
    return names, np.stack(masks).astype(np.float32)
