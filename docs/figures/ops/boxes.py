"""Figure of dlcore.ops.boxes; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.ops.boxes import box_convert, box_iou
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["boxes"]


def boxes() -> "Figure":
    """Left: IoU of a square box with itself moved sideways, for three sizes.

    The same error of a few pixels costs a small box far more. Right: IoU of a box with itself moved by a share of its
    side (across) and changed in size (up), with contours. At a threshold of 0.5 a box may be a third of its side off,
    or have 1.4 times the side, not both.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    shift = np.linspace(0, 20, 81)
    for side, color, style in zip((8, 16, 32), PALETTE, ("-", "--", "-."), strict=False):
        box = jnp.array([[0.0, 0, side, side]])
        moved = box + jnp.asarray(shift)[:, None] * jnp.array([1.0, 0, 1, 0])
        left.plot(shift, box_iou(moved, box)[:, 0], style, color=color, label=f"side {side}")
    left.axhline(0.5, color=GRAY, linewidth=0.8)
    left.set(xlabel="shift / pixels", ylabel="IoU", ylim=(0, 1.02))
    left.legend(frameon=False)
    shares, factors = np.linspace(0, 0.8, 81), np.geomspace(0.5, 2, 81)
    x, size = (a.ravel() for a in np.meshgrid(shares, factors))
    boxes = box_convert(jnp.asarray(np.stack([x, 0 * x, size, size], 1)), "cxcywh", "xyxy")
    iou = box_iou(boxes, jnp.array([[-0.5, -0.5, 0.5, 0.5]]))[:, 0].reshape(81, 81)
    right.pcolormesh(shares, factors, iou, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    lines = right.contour(shares, factors, iou, levels=[0.3, 0.5, 0.75, 0.9], colors="black", linewidths=0.8)
    right.clabel(lines, fontsize=8)
    right.set(xlabel="shift / side", ylabel="factor of the side", yscale="log")
    right.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    right.minorticks_off()
    return figure
