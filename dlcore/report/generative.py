"""Panels of a generative model: grids of samples, sampling trajectories, points in the plane."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes
from dlcore.report.figure import BLUE, GRAY, VERMILION, figure_panel, new_figure
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, to_uint8

__all__ = ["nearest_images", "picture_grid", "sample_grid", "sample_path", "sample_rows", "save_picture", "scatter"]

_WIDTH = 560
_LARGEST = 112
_GAP_GRAY = 128


def picture_grid(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Tile images row by row.

    Args:
      images: [N, H, W, C], uint8 or float in [0, 1] (values outside are clipped); C is 1 or 3.
      columns: images per row; the last row may be shorter.
      gap: gray pixels between images.

    Returns:
      uint8 [rows (H + gap) - gap, columns (W + gap) - gap, C].
    """
    check_shapes(columns=(columns, "int >= 1"), gap=(gap, "int >= 0"))
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images={images.shape}: wrong shape; allowed: [N, H, W, C] with N at least 1")
    images = to_uint8(images if images.dtype == np.uint8 else images.clip(0, 1))
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), _GAP_GRAY, np.uint8)
    for k, image in enumerate(images):
        y, x = k // columns * (height + gap), k % columns * (width + gap)
        grid[y : y + height, x : x + width] = image
    return grid


def save_picture(path: Path, picture: np.ndarray, scale: int = 1) -> Path:
    """Write a picture as a file.

    Args:
      path: path of the .png file; its folder is created if it is missing.
      picture: [H, W, C] uint8; C is 1 or 3.
      scale: integer factor of enlargement.

    Returns:
      The path.
    """
    from PIL import Image

    path, picture = Path(path), np.asarray(picture)
    check_shapes(scale=(scale, "int >= 1"))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] not in (1, 3) or not picture.size:
        raise ValueError(f"picture={picture.dtype}{list(picture.shape)}: no picture; allowed: uint8 [H, W, 1 or 3]")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path)
    return path


def sample_grid(images: np.ndarray, title: str = "Samples", subtitle: str = "", columns: int = 8) -> Panel:
    """Show all samples in their order, unselected.

    Args:
      images: [N, H, W, C], uint8 or float in [0, 1].
      title: title of the panel.
      subtitle: a line under the title.
      columns: largest number of samples per row.

    Returns:
      The panel.
    """
    images = np.asarray(images)
    check_shapes(images=(images, "N H W C"), columns=(columns, "int >= 1"))
    return Panel(
        title,
        _picture(picture_grid(images, max(1, min(columns, len(images)))), title, min(images.shape[1:3])),
        subtitle,
        half=True,
    )


def sample_path(images: np.ndarray, title: str = "From noise to samples", subtitle: str = "") -> Panel:
    """Show sampling trajectories: one row per sample, one column per time.

    Args:
      images: [T, N, H, W, C], uint8 or float in [0, 1] (values outside are clipped), the earliest time first.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    images = np.asarray(images)
    if images.ndim != 5:
        raise ValueError(f"images={images.shape}: wrong shape; allowed: [T, N, H, W, C]")
    by_sample = images.swapaxes(0, 1).reshape(-1, *images.shape[2:])
    return Panel(
        title, _picture(picture_grid(by_sample, images.shape[0]), title, min(images.shape[2:4])), subtitle, half=True
    )


def sample_rows(rows: Mapping[str, np.ndarray], title: str, subtitle: str = "") -> Panel:
    """Show captioned rows of samples, for example one per sampler.

    Args:
      rows: name -> [N, H, W, C], uint8 or float in [0, 1].
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    for name, images in rows.items():
        if np.ndim(images) != 4 or not len(images):
            raise ValueError(f"rows: {name} is {np.shape(images)}; allowed: [N, H, W, C] with N at least 1")
    figures = (
        f"<figure>{_picture(picture_grid(images, len(images)), name, min(images.shape[1:3]))}"
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, images in rows.items()
    )
    return Panel(title, "".join(figures), subtitle, half=True)


def nearest_images(images: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find each image's nearest neighbor in a set, by Euclidean distance of pixels.

    Args:
      images: [N, H, W, C], uint8 or float in [0, 1].
      among: [M, H, W, C], the set; uint8 or float in [0, 1].

    Returns:
      (indices [N] int, distances [N] of pixels in [0, 1]).
    """
    if np.shape(images)[1:] != np.shape(among)[1:] or not len(among):
        raise ValueError(
            f"among={np.shape(among)}: for images {np.shape(images)}; allowed: of the same size, at least one"
        )
    check_finite("images", images)
    check_finite("among", among)

    def flat(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        return x.reshape(len(x), -1).astype(np.float64) / (255 if x.dtype == np.uint8 else 1)

    center = flat(among[:4096]).mean(0)
    queries = flat(images) - center
    best, nearest = np.full(len(queries), np.inf), np.zeros(len(queries), np.int64)
    for first in range(0, len(among), 4096):
        part = flat(among[first : first + 4096]) - center
        squares = np.square(queries).sum(1)[:, None] - 2 * queries @ part.T + np.square(part).sum(1)
        closest = squares.argmin(1)
        value = squares[np.arange(len(queries)), closest]
        nearest = np.where(value < best, first + closest, nearest)
        best = np.minimum(value, best)
    exact = flat(np.asarray(among)[nearest]) - center
    return nearest, np.sqrt(np.square(queries - exact).sum(1))


def _picture(grid: np.ndarray, alt: str, side: int) -> str:
    """Enlarge a grid to about the width of a panel, but the shorter `side` of an image to at most `_LARGEST`."""
    scale = max(1, min(round(_WIDTH / grid.shape[1]), _LARGEST // side))
    width = grid.shape[1] * scale
    return f'<img class="tiles" alt="{escape(alt)}" width="{width}" src="{data_uri(grid, scale)}">'


def scatter(points: np.ndarray, centers: np.ndarray, title: str = "Samples", subtitle: str = "") -> Panel:
    """Show samples in the plane, with a circle around every mode of the data distribution.

    Args:
      points: [N, 2].
      centers: [K, 2], the modes; the axes extend to 1.4 times the largest coordinate.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    points, centers = np.asarray(points), np.asarray(centers)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points={points.shape}: wrong shape; allowed: [N, 2]")
    check_shapes(centers=(centers, "K 2"))
    check_finite("centers", centers)
    if not len(centers):
        raise ValueError("centers=[0]: none; allowed: at least one")
    figure, axes = new_figure((5, 5))
    axes.scatter(*centers.T, s=260, facecolors="none", edgecolors=VERMILION, linewidths=1.5)
    axes.scatter(*points.T, s=5, color=BLUE, alpha=0.5, linewidths=0)
    reach = 1.4 * np.abs(centers).max()
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=GRAY)
    return figure_panel(title, figure, subtitle)
