"""Images of colored shapes in a grid, at most one per cell; captions and questions about shapes are built on them."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_pair
from dlcore.data.scenes import SHAPES, covers
from dlcore.data.source import whole_numbers
from dlcore.ops.checks import check_indices, check_shapes

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
"""Name -> RGB, 0 to 255; `draw_shapes` varies each channel by up to 15."""


class Placed(NamedTuple):
    """A shape in a cell.

    Args:
      color: name from COLORS.
      shape: name of a shape, one of `dlcore.data.scenes.SHAPES`.
      cell: index of the cell, row by row from the top left, 0 to grid^2 - 1.
    """

    color: str
    shape: str
    cell: int


@whole_numbers
def check_grid(size: int, grid: int) -> None:
    """Check that cells are large enough to tell shapes apart.

    Args:
      size: side of the image in pixels.
      grid: cells in a row and in a column.
    """
    check_shapes(grid=(grid, "int >= 2"))
    if size < 8 * grid:
        raise ValueError(f"size={size}: a cell is narrower than 8 pixels; allowed: at least {8 * grid}")


def cell_names(grid: int) -> tuple[str, ...]:
    """Name the cells of a grid of two or three rows: "top left", "top", ..., "bottom right".

    Args:
      grid: 2 or 3.

    Returns:
      The names of the grid^2 cells, row by row.
    """
    if grid not in (2, 3):
        raise ValueError(f"grid={grid}: its cells have no names; allowed: 2, 3")
    rows, columns = ("top", "bottom"), ("left", "right")
    if grid == 3:
        rows, columns = ("top", "", "bottom"), ("left", "", "right")
    return tuple(f"{row} {column}".strip() or "center" for row in rows for column in columns)


@whole_numbers
def cell_shares(grid: int, height: int, width: int) -> np.ndarray:
    """Compute the fraction of each feature map position that lies in each cell, to sum an attention map over cells.

    Args:
      grid: cells in a row and in a column.
      height: height of the feature map.
      width: width of the feature map.

    Returns:
      Fractions [grid^2, height, width] in [0, 1]; those of a position add up to 1 over the cells.
    """
    check_shapes(grid=(grid, "int >= 1"), height=(height, "int >= 1"), width=(width, "int >= 1"))

    def along(size):
        edges = np.arange(size + 1) * grid / size
        low, high = (np.clip(edges, k, k + 1) for k in range(grid)), np.diff(edges)
        return np.stack([np.diff(part) / high for part in low])

    return (along(height)[:, None, :, None] * along(width)[None, :, None, :]).reshape(grid**2, height, width)


@whole_numbers
def draw_shapes(rng: np.random.Generator, shapes: Sequence[Placed], size: int, grid: int) -> np.ndarray:
    """Draw shapes in their cells on a gray background, with noise; position, size and color vary a little.

    Args:
      rng: NumPy generator of the variation.
      shapes: shapes to draw, at most one per cell.
      size: side of the image in pixels.
      grid: cells in a row and in a column.

    Returns:
      [size, size, 3] uint8.
    """
    check_shapes(size=(size, "int >= 1"), grid=(grid, "int >= 1"))
    for placed in shapes:
        check_choice("color", placed.color, COLORS)
        check_choice("shape", placed.shape, SHAPES)
        check_indices("cell", placed.cell, grid**2, "cells")
    side = size / grid
    canvas = np.full((size, size, 3), rng.uniform(90, 150), np.float32)
    for placed in shapes:
        radius = side / 2 * rng.uniform(0.72, 0.95)
        slack = side / 2 - radius
        x, y = (np.array([placed.cell % grid, placed.cell // grid]) + 0.5) * side + rng.uniform(-slack, slack, 2)
        paint(canvas, placed.shape, np.add(COLORS[placed.color], rng.uniform(-15, 15, 3)), (x, y), radius)
    return (canvas + rng.normal(0, 6, canvas.shape)).clip(0, 255).astype(np.uint8)


def paint(
    canvas: np.ndarray, shape: str, color: np.ndarray, center: tuple[float, float], radius: float, wrap: bool = False
) -> np.ndarray:
    """Paint one shape onto a canvas: the pixels whose centers lie inside the shape.

    Args:
      canvas: [H, W, 3] float, changed in place.
      shape: name of a shape, one of `dlcore.data.scenes.SHAPES`.
      color: [3], in the units of the canvas.
      center: (x, y) in pixels.
      radius: radius in pixels.
      wrap: whether a shape that leaves the canvas at one side enters at the opposite side (a torus).

    Returns:
      [H, W] bool, the painted pixels.
    """
    check_choice("shape", shape, SHAPES)
    check_pair("center", center)
    check_shapes(canvas=(canvas, "H W 3"), color=(color, "3"), center=(center, "2 finite"), radius=(radius, "> 0"))
    check_shapes(radius=(radius, "finite"))
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
    """Find the pixels of shapes by their saturation: the background is gray, and no shape is.

    Args:
      image: [..., H, W, 3], uint8, or float in [0, 1].
      least: threshold of the difference between the largest and the smallest channel, in gray levels of 255.

    Returns:
      [..., H, W] bool, True on shapes.
    """
    check_shapes(image=(image, "... H W 3"), least=(least, "0 to 255"))
    pixels = np.asarray(image, np.float32) * (1 if image.dtype == np.uint8 else 255)
    return pixels.max(-1) - pixels.min(-1) > least


@whole_numbers
def read_shapes(
    image: np.ndarray, grid: int, shapes: Sequence[str] = ("circle", "square", "triangle", "cross"), least: float = 0.6
) -> list[Placed]:
    """Recognize the shapes of an image by template matching, the inverse of `draw_shapes`.

    The colored pixels of a cell are compared with templates of every shape in several sizes and positions; the color is
    the one nearest to their mean. No network is involved, so the result can evaluate any generative model.

    Args:
      image: [size, size, 3], uint8, or float in [0, 1].
      grid: cells in a row and in a column.
      shapes: names of the shapes to look for.
      least: minimum intersection over union with the best template; below it a cell counts as empty.

    Returns:
      The recognized shapes, in the order of their cells.
    """
    check_shapes(grid=(grid, "int >= 1"), least=(least, "0 to 1"), image=(image, "H W 3"))
    if not shapes:
        raise ValueError("shapes=(): none; allowed: one or more names")
    for shape in shapes:
        check_choice("shapes", shape, SHAPES)
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
    """Draw the templates, every shape in several sizes and positions: (names [K], masks [K, side^2] float32)."""
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
