"""Figure of dlcore.detection.pose; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.detection.pose import heat_map_targets
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pose"]


def pose() -> "Figure":
    """Targets of three keypoints of an image of 64 x 64 pixels, on maps of 32 x 32.

    Each keypoint has a map of its own with a Gaussian bump, whose deviation is 2 pixels of the map, as in the paper.
    Both keypoints lie between pixels, so that the largest value is below 1, and its neighbors tell where the maximum
    is. The third keypoint is not labeled: its map gets no loss.
    """
    figure, axes = new_figure((7, 2.4), 1, 3)
    keypoints = jnp.array([[[20.0, 30.0, 2.0], [46.0, 22.0, 2.0], [0.0, 0.0, 0.0]]])
    maps, weight = heat_map_targets(keypoints, (64, 64), (32, 32), 2.0)
    maps, weight = np.moveaxis(np.asarray(maps)[0], -1, 0), np.asarray(weight).reshape(-1)
    for ax, heat, is_labeled in zip(axes, maps, weight, strict=True):
        ax.imshow(heat, cmap="magma", vmin=0, vmax=1)
        ax.set_title(f"largest value {heat.max():.2f}" if is_labeled else "not labeled", fontsize=9)
        ax.set(xticks=[], yticks=[])
    return figure
