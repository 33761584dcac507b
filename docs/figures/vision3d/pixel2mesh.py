"""Figure of dlcore.vision3d.pixel2mesh; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.pixel2mesh import GraphResNet, sphere_levels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pixel2mesh"]


def pixel2mesh() -> "Figure":
    """Left and middle: the sphere of two stages of Pixel2Mesh; new vertices (red) are midpoints of the edges before.

    Right: share of the vertices whose output changes when the input of one vertex does, by the number of residual
    blocks. Each block reaches two edges far. On the finer mesh the same blocks see a smaller part, so a coarse mesh
    first is the cheap way to move all of it.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3, width_ratios=(1, 1, 1.4))
    vertices, levels = sphere_levels(1, 2)
    fine = np.concatenate([vertices, vertices[levels[1].midpoints].mean(1)])
    for ax, points, level in ((left, vertices, levels[0]), (middle, fine, levels[1])):
        for a, b in level.mesh.edges:
            if points[a, 2] + points[b, 2] > -0.1:
                ax.plot(*points[[a, b], :2].T, color=GRAY, linewidth=0.8)
        front = np.flatnonzero(points[:, 2] > -0.1)
        ax.scatter(
            *points[front, :2].T, s=10, color=[BLUE if v < len(vertices) else VERMILION for v in front], zorder=3
        )
        ax.set(xticks=[], yticks=[], aspect="equal", xlabel=f"{len(points)} vertices")
    blocks = (1, 2, 3, 4)
    for points, level, style, color in ((vertices, levels[0], "s--", VERMILION), (fine, levels[1], "o-", BLUE)):
        shares, x = [], jnp.asarray(points, jnp.float32)[None]
        for number in blocks:
            net = GraphResNet(8, number)
            variables = net.init(jax.random.key(0), x, level.mesh.edges)
            change = net.apply(variables, x.at[0, 0].add(0.5), level.mesh.edges) - net.apply(
                variables, x, level.mesh.edges
            )
            shares.append(float((jnp.abs(change[0]).max(-1) > 0).mean()))
        right.plot(blocks, shares, style, color=color, markersize=4, label=f"{len(points)} vertices")
    right.set(xlabel="residual blocks", ylabel="share of vertices reached", xticks=blocks, ylim=(0, 1.05))
    right.legend(frameon=False, loc="lower right")
    return figure
