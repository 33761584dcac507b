"""Figure of dlcore.detection.sliding_window; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.detection.sliding_window import count_boxes, score_crops, window_boxes
from dlcore.detection.sliding_window import sliding_window as detect
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sliding_window"]


def sliding_window() -> "Figure":
    """A classifier of crops, here the likeness to one disk, that is asked about every window.

    Left: windows of two sizes that score above 0.7 (red). Middle: of those that overlap, suppression keeps the best
    (blue). Right: windows of an image. All crops (gray) are millions at 100 pixels; three sizes at steps of 4 pixels
    (blue) are about a thousand.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.5), 1, 3, width_ratios=(1, 1, 1.6))
    row, column = np.mgrid[:64, :64]
    disks = ((20, 18, 7), (40, 44, 12))
    image = sum((np.hypot(row - y, column - x) < radius) * 1.0 for y, x, radius in disks)
    image = jnp.asarray(image + np.random.default_rng(0).normal(0, 0.1, image.shape), jnp.float32)[..., None]
    windows = window_boxes((64, 64), ((18, 18), (30, 30)), 2)
    scores = np.asarray(score_crops(_likeness, image, windows, (12, 12)))[:, 0]
    found = detect(_likeness, image, windows, (12, 12), score_thresh=0.7, nms_thresh=0.2, detections_per_img=10)
    kept = np.asarray(found["boxes"])[np.asarray(found["valid"])]
    high = windows[scores > 0.7]
    for ax, boxes, color, name in ((left, high, VERMILION, "above 0.7"), (middle, kept, BLUE, "kept")):
        show_image(ax, image[..., 0], f"{len(boxes)} windows {name}", cmap="gray", vmin=-0.5, vmax=1.5)
        draw_boxes(ax, boxes - 0.5, color, width=1.5 if color == BLUE else 0.5)
    sides = np.array([24, 32, 48, 64, 96, 128, 192, 256])
    right.loglog(sides, [count_boxes(side, side) for side in sides], "s--", color=GRAY, label="all crops", markersize=4)
    grid = [len(window_boxes((side, side), ((16, 16), (32, 32), (64, 64)), 4)) for side in sides]
    right.loglog(sides, grid, "o-", color=BLUE, label="3 sizes, step 4", markersize=4)
    right.set_xticks([25, 50, 100, 200], ["25", "50", "100", "200"])
    right.minorticks_off()
    right.set(xlabel="side of the image / pixels", ylabel="windows")
    right.legend(frameon=False, fontsize=8)
    return figure


def _likeness(crops: jax.Array) -> jax.Array:
    """Correlation [B, 1] of crops [B, 12, 12, 1] with a disk that nearly fills the crop."""
    row, column = np.mgrid[:12, :12] - 5.5
    disk = jnp.asarray((np.hypot(row, column) < 4.7) * 1.0)
    centered = [x - x.mean((-2, -1), keepdims=True) for x in (crops[..., 0], disk)]
    unit = [x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 0.3) for x in centered]
    return (unit[0] * unit[1]).sum((1, 2))[:, None]
