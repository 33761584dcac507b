"""Figure of dlcore.detection.dynamic_assignment; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.detection.anchors import Grid
from dlcore.detection.dynamic_assignment import sim_ota_assignment, task_aligned_assignment
from dlcore.report.figure import BLUE, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dynamic_assignment"]


def dynamic_assignment() -> "Figure":
    """Locations that learn two true boxes; the predicted boxes fit best to the lower right of the centers (x).

    Left: task-aligned assignment gives each box its ten best locations. Right: SimOTA gives a box as many as its
    overlaps add up to, near the center. The area of a dot is the target of the score. In both the dots follow the
    detector's good boxes.
    """
    figure, axes = new_figure((6.6, 3.3), 1, 2)
    grid = Grid.of([(16, 16)], (128, 128))
    boxes = jnp.array([[8.0, 12, 72, 92], [56, 64, 120, 120]])
    points = grid.points[:, None]
    best = (boxes[:, :2] + boxes[:, 2:]) / 2 + 8
    near = jnp.square(points - best).sum(-1)  # [L, M]
    owner = near.argmin(1)
    shift = 0.4 * (grid.points - best[owner])
    predicted = boxes[owner] + jnp.concatenate([shift, shift], -1)
    logits = jnp.full((len(owner), 2), -2.0).at[jnp.arange(len(owner)), owner].set(2 - near.min(1) / 400)
    rules = (("task-aligned", task_aligned_assignment), ("SimOTA", sim_ota_assignment))
    for ax, (name, assign) in zip(axes, rules, strict=True):
        matched, quality = assign(logits, predicted, grid, boxes, jnp.arange(2), jnp.ones(2, bool))
        ax.plot(*grid.points.T, ".", color=LIGHT_GRAY, markersize=2)
        for number, (color, marker) in enumerate(((BLUE, "o"), (VERMILION, "s"))):
            x0, y0, x1, y1 = np.asarray(boxes[number])
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=color, linewidth=1.5))
            ax.plot((x0 + x1) / 2, (y0 + y1) / 2, "x", color=color)
            chosen = np.asarray(matched) == number
            ax.scatter(*grid.points[chosen].T, 50 * np.asarray(quality)[chosen], color=color, marker=marker, alpha=0.7)
        counts = [int((matched == number).sum()) for number in range(2)]
        ax.set(title=f"{name}: {counts[0]} and {counts[1]} locations", xlabel="x / pixels", aspect="equal")
        ax.title.set_fontsize(9)
        ax.invert_yaxis()
    axes[0].set_ylabel("y / pixels")
    return figure
