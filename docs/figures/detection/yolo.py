"""Figure of dlcore.detection.yolo; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.detection.yolo import Cells, Outputs, assign_cells, lost_objects
from dlcore.report.figure import BLUE, PALETTE, SKY, VERMILION, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["yolo"]


def yolo() -> "Figure":
    """Cells that own objects, and objects that are lost because two centers lie in one cell.

    Left: the cell with the center of a box (cross) owns it. The centers of the two small boxes share a cell, which owns
    one; the other (red, dashed) is lost. Right: mean share of lost objects at random places. A grid twice as fine loses
    far fewer.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.5))
    cells, valid = Cells((7, 7), (448, 448), 2), jnp.ones(4, bool)
    boxes = jnp.array([[30.0, 50, 240, 330], [250, 250, 420, 400], [320, 70, 380, 120], [330, 90, 360, 140]])
    owner = np.asarray(assign_cells(cells, boxes, valid))
    for x, y in cells.corners[owner >= 0]:
        left.add_patch(Rectangle((x, y), 64, 64, color=SKY, alpha=0.5, linewidth=0))
    lost = ~np.isin(np.arange(4), owner)
    centers = np.asarray(boxes[:, :2] + boxes[:, 2:]) / 2
    for chosen, color, style in ((~lost, BLUE, "-"), (lost, VERMILION, "--")):
        draw_boxes(left, np.asarray(boxes)[chosen], color, style)
        left.plot(*centers[chosen].T, "x", color=color, markersize=5)
    left.set(xticks=range(0, 449, 64), yticks=range(0, 449, 64), xlim=(0, 448), ylim=(448, 0), aspect="equal")
    left.set(xticklabels=[], yticklabels=[])
    left.grid(alpha=0.4)
    places, numbers = jax.random.uniform(jax.random.key(0), (500, 40, 2)) * 448, np.arange(1, 41)
    for side, color, style in zip((7, 14, 28), PALETTE, ("-", "--", "-."), strict=False):
        right.plot(numbers, _lost_share(places, numbers, side), style, color=color, label=f"{side} x {side} cells")
    right.set(xlabel="objects in the image", ylabel="lost (%)")
    right.legend(frameon=False, fontsize=8)
    return figure


def _lost_share(places: jax.Array, numbers: np.ndarray, side: int) -> np.ndarray:
    """Mean percentage of the first n places of each image [N, M, 2] that no cell owns, for each n."""
    cells, outputs = Cells((side, side), (448, 448), 2), Outputs(jnp.zeros(0))
    boxes, labels = jnp.concatenate([places, places], -1), jnp.zeros(places.shape[1], jnp.int32)

    def lost(boxes, number):
        return lost_objects(outputs, cells, boxes, labels, jnp.arange(len(labels)) < number)["lost_objects"]

    counts = jax.jit(jax.vmap(jax.vmap(lost, (0, None)), (None, 0)))(boxes, jnp.asarray(numbers))
    return 100 * np.asarray(counts).mean(1) / numbers
