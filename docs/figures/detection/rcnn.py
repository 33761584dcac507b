"""Figure of dlcore.detection.rcnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import scenes
from dlcore.detection.rcnn import warp_regions
from dlcore.detection.selective_search import selective_search
from dlcore.report.figure import BLUE, SKY, new_figure, show_image
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rcnn"]


def rcnn() -> "Figure":
    """Regions that R-CNN cuts out of an image, and how often the network sees each pixel.

    Left: the box of a shape. Middle: the box and one that is 16 percent larger, both warped to squares whatever their
    shape. Right: how many boxes of selective search cover each pixel. Every covering box is a further pass of the
    network over the same pixel.
    """
    figure, (left, tight, grown, right) = new_figure((7.4, 2.1), 1, 4, width_ratios=(1, 1, 1, 1.3))
    scene = scenes(100, 3).arrays
    sides = np.ptp(scene["boxes"].reshape(100, -1, 2, 2), 2)
    shape = np.divide(*np.moveaxis(sides, -1, 0), out=np.zeros(sides.shape[:2]), where=scene["box_mask"])
    image, number = np.unravel_index(shape.argmax(), shape.shape)
    picture, box = scene["image"][image], scene["boxes"][image, number]
    show_image(left, picture, "image")
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    draw_boxes(left, box[None], BLUE)
    draw_boxes(left, np.concatenate([center - 1.16 * half, center + 1.16 * half])[None], SKY, "--")
    for ax, context, name in ((tight, 0.0, "box, warped"), (grown, 0.16, "grown box, warped")):
        warped = warp_regions(jnp.asarray(picture[None], jnp.float32), jnp.asarray(box).reshape(1, 1, 4), 64, context)
        show_image(ax, np.asarray(warped[0, 0]).astype(np.uint8), name)
    proposals = selective_search(picture)
    row, column = np.mgrid[:96, :96][..., None] + 0.5
    x0, y0, x1, y1 = proposals.T
    counts = ((x0 < column) & (column < x1) & (y0 < row) & (row < y1)).sum(-1)
    drawn = show_image(right, counts, f"{len(proposals)} boxes", cmap="viridis", vmin=0)
    figure.colorbar(drawn, ax=right, label="passes over a pixel")
    return figure
