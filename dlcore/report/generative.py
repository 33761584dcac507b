"""What a generator draws, for a report: grids of samples, strips of a sample on its way, points in the plane."""

import io

import numpy as np

from dlcore.report.html import Panel
from dlcore.report.pictures import data_uri, to_uint8

__all__ = ["picture_grid", "sample_grid", "sample_path", "scatter"]

_WIDTH = 720
_SEEN, _TRUE = "#0072b2", "#d55e00"


def picture_grid(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Images [N, H, W, C], uint8 or in [0, 1] (what lies outside is clipped), as one: uint8 [H', W', C], gaps grey.

    Raises:
      ValueError: there is no image, or columns is not positive.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or columns < 1:
        raise ValueError(
            f"images has shape {images.shape} and columns is {columns}; there must be at least one of each"
        )
    images = to_uint8(images if images.dtype == np.uint8 else images.clip(0, 1))
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 128, np.uint8)
    for k, image in enumerate(images):
        y, x = k // columns * (height + gap), k % columns * (width + gap)
        grid[y : y + height, x : x + width] = image
    return grid


def sample_grid(images: np.ndarray, title: str = "Samples", note: str = "", columns: int = 16) -> Panel:
    """A panel of samples [N, H, W, C], not chosen: all that are given, in their order."""
    return Panel(title, _picture(picture_grid(images, min(columns, len(images))), title), note)


def sample_path(images: np.ndarray, title: str = "From noise to samples", note: str = "") -> Panel:
    """A panel with a row a sample and a column a moment. images: [moments, N, H, W, C], in [0, 1] (clipped)."""
    images = np.asarray(images)
    if images.ndim != 5:
        raise ValueError(f"images has shape {images.shape}; it must be [moments, N, H, W, C]")
    by_sample = images.swapaxes(0, 1).reshape(-1, *images.shape[2:])
    return Panel(title, _picture(picture_grid(by_sample, images.shape[0]), title), note)


def _picture(grid: np.ndarray, alt: str) -> str:
    scale = max(1, round(_WIDTH / grid.shape[1]))
    width = grid.shape[1] * scale
    return f'<img class="tiles" alt="{alt}" width="{width}" src="{data_uri(grid, scale)}">'


def scatter(points: np.ndarray, centres: np.ndarray, title: str = "Samples", note: str = "") -> Panel:
    """Points [N, 2] in the plane, and where the modes are: centres [K, 2]."""
    from matplotlib.figure import Figure

    points, centres = np.asarray(points), np.asarray(centres)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points has shape {points.shape}; it must be [N, 2]")
    figure = Figure((5, 5))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.scatter(*centres.T, s=260, facecolors="none", edgecolors=_TRUE, linewidths=1.5)
    axes.scatter(*points.T, s=5, color=_SEEN, alpha=0.5, linewidths=0)
    reach = 1.4 * np.abs(centres).max()
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color("#888888")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, transparent=True)
    from PIL import Image

    image = np.asarray(Image.open(buffer))
    return Panel(title, f'<img class="clear" alt="{title}" width="{image.shape[1]}" src="{data_uri(image)}">', note)
