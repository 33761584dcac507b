"""Figure of dlcore.nn.graph_conv; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.graph_conv import GraphConv, neighbor_sum
from dlcore.report.figure import BLUE, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["graph_conv"]


def graph_conv() -> "Figure":
    """Left: a graph of 60 nodes; darker nodes have more influence on one node (square) after one and three layers.

    This influence is the gradient's size through graph convolutions with random weights: each layer lets a node look
    one edge further. Right: features that are averaged over neighbors again and again become all alike, and the spread
    over the nodes vanishes.
    """
    figure, axes = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    rng = np.random.default_rng(4)
    places = rng.uniform(size=(60, 2))
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    near = (distance < 0.21) & (distance > 0)
    edges = jnp.asarray(np.argwhere(near))
    center = int(np.argmin(np.linalg.norm(places - 0.5, axis=1)))
    x = jax.random.normal(jax.random.key(0), (60, 8))
    for ax, depth in zip(axes, (1, 3), strict=False):

        def output(x, depth=depth):
            for number in range(depth):
                layer = GraphConv(8, use_bias=False)
                x = layer.apply(layer.init(jax.random.key(number), x, edges=edges), x, edges=edges)
            return x[center]

        size = jnp.abs(jax.jacrev(output)(x)).sum((0, 2))
        ax.plot(*places[np.asarray(edges)].transpose(2, 1, 0), color=LIGHT_GRAY, linewidth=0.6, zorder=0)
        color = np.asarray((size / size.max()) ** 0.4)
        ax.scatter(*places.T, c=color, cmap="Blues", s=22, edgecolors="black", linewidths=0.4)
        ax.plot(*places[center], "s", color=VERMILION, markersize=9, fillstyle="none")
        ax.set(xticks=[], yticks=[], aspect="equal", xlabel=f"{depth} layer" + "s" * (depth > 1))
        ax.spines[:].set_visible(False)
    degree, spreads = near.sum(1)[:, None] + 1, []
    for _ in range(31):
        spreads.append(float(x.std(0).mean()))
        x = (x + neighbor_sum(x, edges=edges)) / degree
    axes[2].plot(spreads, color=BLUE)
    axes[2].set(xlabel="averages", ylabel="spread over the nodes", ylim=(0, None))
    return figure
