"""Figure of dlcore.segmentation.panoptic; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from matplotlib.colors import ListedColormap

from dlcore.report.figure import PALETTE, new_figure, show_image
from dlcore.segmentation.panoptic import components, merge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["panoptic"]


def panoptic() -> "Figure":
    """Objects of a detector and a map of classes become one map, whose pixels have one segment at most.

    The surest object takes its pixels first. The third repeats it and is dropped, since less than half of it is still
    free. Stuff fills the rest; white pixels have no segment. Right: connected regions of the class map join the two
    that touch.
    """
    figure, axes = new_figure((7, 2), 1, 4)
    row, column = np.mgrid[:40, :40]
    masks = np.stack([np.hypot(row - y, column - x) < r for y, x, r in ((20, 13, 9), (20, 28, 8), (23, 12, 8))])
    scores = (0.9, 0.8, 0.6)
    semantic = np.where(masks.any(0), 2, (row > 24).astype(int))
    valid, labels = jnp.ones(3, bool), jnp.zeros(3, jnp.int32)
    segments, _ = merge(jnp.asarray(masks), jnp.array(scores), labels, valid, jnp.asarray(semantic), 2)
    regions, _ = components(semantic, 2, room=3)
    colors = {
        "cmap": ListedColormap(["white", PALETTE[0], PALETTE[2], PALETTE[3], "#dddddd", "#aaaaaa"]),
        "vmin": -1,
        "vmax": 4,
    }
    show_image(axes[0], np.full((40, 40), -1), "objects, scores", **colors)
    for mask, score, y, x, style in zip(masks, scores, (8, 10, 35), (13, 28, 12), ("-", "-", "--"), strict=True):
        axes[0].contour(mask, [0.5], colors="black", linestyles=style, linewidths=1.2)
        axes[0].text(x, y, score, ha="center", fontsize=8)
    show_image(axes[1], np.where(semantic < 2, 3 + semantic, 2), "map of classes", **colors)
    show_image(axes[2], segments, "merged", **colors)
    show_image(axes[3], regions, "connected regions", **colors)
    return figure
