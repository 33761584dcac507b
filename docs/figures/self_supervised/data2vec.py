"""Figure of dlcore.self_supervised.data2vec; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.self_supervised.data2vec import mean_of_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["data2vec"]


def data2vec() -> "Figure":
    """The targets of data2vec: the mean of the teacher's last layers, each token of each layer normalized first.

    Left: deviation of the tokens of eight layers whose size doubles from layer to layer (gray), and of their mean
    over the last K: the normalization gives every layer an equal voice, so the last layer does not drown the others.
    Right: the correlation of the target with each layer; a mean of all layers holds something of each, and the last
    layer only itself.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    layers = []
    x = jax.random.normal(jax.random.key(0), (1, 200, 64))
    for key in jax.random.split(jax.random.key(1), 8):
        x = 2 * (0.8 * x + 0.6 * x.std() * jax.random.normal(key, x.shape))
        layers.append(x)
    depth = np.arange(1, 9)
    left.plot(depth, [float(x.std()) for x in layers], "o-", color="gray", label="layers")
    for count, color, marker in ((1, VERMILION, "s"), (4, BLUE, "^"), (8, GREEN, "o")):
        target = mean_of_layers(layers, count)
        left.plot([8], [float(target.std())], marker, color=color, markersize=7, label=f"target, K = {count}")
        correlations = [float(jnp.corrcoef(target.ravel(), x.ravel())[0, 1]) for x in layers]
        right.plot(depth, correlations, marker=marker, color=color)
    left.set(xlabel="layer", ylabel="deviation", yscale="log")
    right.set(xlabel="layer", ylabel="correlation with the target", ylim=(0, 1.05))
    left.legend(frameon=False, fontsize=8)
    return figure
