"""Figure of dlcore.detection.deformable_detr; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.deformable_attention import deformable_attention
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["deformable_detr"]


def deformable_detr() -> "Figure":
    """What one query of deformable attention reads: a few points on each of three maps, shown by their gradient.

    The query is at the cross. Each cell shows how much the output depends on it; points between cells read four of
    them. With four points a level the query touches at most 48 cells of 1,344, and its cost does not grow with the
    size of the maps. In training the points move to where objects are.
    """
    figure, axes = new_figure((7, 2.5), 1, 3)
    shapes, center = ((32, 32), (16, 16), (8, 8)), np.array([0.6, 0.4])
    offsets = np.random.default_rng(3).normal(0, 2.0, (3, 4, 2)) / np.array(shapes)[:, None]
    locations = jnp.asarray(center + offsets, jnp.float32).reshape(1, 1, 1, 12, 2)
    weights = jnp.full((1, 1, 1, 12), 1 / 12)

    def output(value):
        return deformable_attention(value, shapes, locations, weights, 4).sum()

    influence = np.asarray(jax.grad(output)(jnp.ones((1, sum(h * w for h, w in shapes), 1, 1))))[0, :, 0, 0]
    first = 0
    for ax, (rows, columns), points in zip(axes, shapes, np.asarray(locations).reshape(3, 4, 2), strict=True):
        ax.imshow(influence[first : first + rows * columns].reshape(rows, columns), cmap="Blues", vmin=0, vmax=0.1)
        first += rows * columns
        ax.plot(*(points * [columns, rows] - 0.5).T, "o", color=PALETTE[1], markersize=3)
        ax.plot(*(center * [columns, rows] - 0.5), "+", color="black", markersize=9)
        ax.set_title(f"level of {rows} x {columns}", fontsize=9)
        ax.set(xticks=[], yticks=[])
    return figure
