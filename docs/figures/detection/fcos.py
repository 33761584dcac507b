"""Figure of dlcore.detection.fcos; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.detection.anchors import Grid
from dlcore.detection.fcos import centerness, match
from dlcore.ops.boxes import boxes_to_distances
from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, VERMILION, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fcos"]


def fcos() -> "Figure":
    """Locations that learn two boxes, and how centerness lowers the score near a side.

    Left: the small box belongs to the fine map (squares) and the large one to the coarse map (circles), although they
    overlap. The area of a mark is its centerness. Right: scores along the middle of a box, at a probability of 0.9; at
    the sides they fall to zero.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    grid = Grid.of([(20, 20), (10, 10)], (160, 160))
    boxes = jnp.array([[8.0, 8, 150, 146], [86, 70, 134, 110]])
    owner = np.asarray(match(grid, boxes, jnp.ones(2, bool)))
    central = np.asarray(centerness(boxes_to_distances(grid.points, boxes[owner])))
    left.plot(*grid.points.T, ".", color=LIGHT_GRAY, markersize=2)
    for number, (color, marker) in enumerate(((VERMILION, "o"), (BLUE, "s"))):
        chosen = owner == number
        left.scatter(*grid.points[chosen].T, 55 * central[chosen], color=color, marker=marker, zorder=3)
        draw_boxes(left, boxes[number : number + 1], color)
    left.set(xlabel="x / pixels", ylabel="y / pixels", xlim=(-4, 156), ylim=(156, -4), aspect="equal")
    x = jnp.linspace(0, 100, 201)
    middle = centerness(jnp.stack([x, jnp.full_like(x, 30), 100 - x, jnp.full_like(x, 30)], 1))
    right.axhline(0.9, color=GRAY, linestyle="--", label="probability")
    right.plot(x, middle, ":", color=VERMILION, label="centerness")
    right.plot(x, jnp.sqrt(0.9 * middle), color=BLUE, label="score")
    right.set(xlabel="distance to the left side / pixels", ylabel="value", ylim=(0, 1.02))
    right.legend(frameon=False, fontsize=8, loc="lower center")
    return figure
