"""Figure of dlcore.detection.mask_rcnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import covers
from dlcore.detection.mask_rcnn import mask_targets
from dlcore.ops.mask_paste import paste_masks
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure, show_image
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mask_rcnn"]


def mask_rcnn() -> "Figure":
    """The target of the mask head, and how exact a mask of fixed size can be.

    Left: the true mask and a proposal (blue) that cuts off its right end. Middle: the target, the part in the proposal;
    a mask never leaves its box. Right: overlap of the true mask with its target pasted back. A finer grid keeps more of
    the outline.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.7))
    mask, proposal = _cross(60, 96), np.array([[16.0, 14, 68, 80]], np.float32)
    show_image(left, mask, "true mask", cmap="Greys", vmax=1.6)
    draw_boxes(left, proposal, BLUE, width=2)
    target = mask_targets(mask[None], jnp.zeros(1, jnp.int32), jnp.asarray(proposal))[0]
    show_image(middle, target, "target, 28 x 28", cmap="Blues", vmax=1.6)
    sides = np.array([12, 20, 32, 48, 80, 128, 200, 320])
    for size, color, style in ((7, VERMILION, "s--"), (14, GREEN, "^-."), (28, BLUE, "o-")):
        overlaps = [_overlap(_cross(int(side), int(side) + 16), size) for side in sides]
        right.semilogx(sides, overlaps, style, color=color, label=f"{size} x {size}", markersize=4)
    right.set_xticks([20, 50, 100, 200], ["20", "50", "100", "200"])
    right.minorticks_off()
    right.set(xlabel="side of the box / pixels", ylabel="overlap (IoU)")
    right.legend(frameon=False, fontsize=8)
    return figure


def _cross(diameter: int, size: int) -> jax.Array:
    """Mask [size, size] of a turned cross of a diameter in the middle."""
    v, u = (np.mgrid[:size, :size] + 0.5 - size / 2) / (diameter / 2)
    return jnp.asarray(covers("cross", u + 0.4 * v, v - 0.4 * u))


def _overlap(mask: jax.Array, size: int) -> float:
    """IoU of a mask with its target of a size, pasted back into its box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = jnp.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], jnp.float32)
    target = mask_targets(mask[None], jnp.zeros(1, jnp.int32), box, size)
    pasted = paste_masks(target, box, mask.shape, whole_pixels=False)[0] >= 0.5
    return float((pasted & mask).sum() / (pasted | mask).sum())
