"""Figure of dlcore.ops.roi; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.ops.roi import roi_align, roi_pool
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["roi"]


def roi() -> "Figure":
    """Left: a smooth map and a box of 2 x 2 bins; right: the value of the first bin as the box moves to the right.

    RoIPool rounds the corners to pixels, so the value jumps, and a small shift of the box often changes nothing.
    RoIAlign samples between pixels and follows the map. With aligned=True it looks half a pixel further up and left,
    where the pixels' centers are.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=(1, 1.6))
    row, column = np.mgrid[:12, :12]
    features = jnp.asarray(np.sin(column / 1.7) + 0.5 * np.cos(row / 2.5), jnp.float32)[..., None]
    left.imshow(features[..., 0], cmap="Blues", extent=(-0.5, 11.5, 11.5, -0.5))
    for x in (2, 4):
        for y in (3, 5):
            left.add_patch(Rectangle((x, y), 2, 2, fill=False, color=VERMILION, linewidth=1.5))
    left.set(xlabel="x / pixels", ylabel="y / pixels", xticks=[0, 5, 10], yticks=[0, 5, 10])
    shift = np.linspace(0, 5, 201)
    boxes = jnp.asarray([2.0, 3, 6, 7]) + jnp.asarray(shift)[:, None] * jnp.array([1.0, 0, 1, 0])
    kinds = (
        ("RoIPool", roi_pool(features, boxes, 2), VERMILION, "-"),
        ("RoIAlign", roi_align(features, boxes, 2), BLUE, "--"),
        ("RoIAlign, aligned", roi_align(features, boxes, 2, aligned=True), GREEN, "-."),
    )
    for name, crops, color, style in kinds:
        right.plot(shift, crops[:, 0, 0, 0], style, color=color, label=name)
    right.set(xlabel="shift of the box / pixels", ylabel="value of the first bin")
    right.legend(frameon=False, fontsize=8)
    return figure
