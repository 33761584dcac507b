"""Figure of dlcore.generative.pixart; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.dit import DiT
from dlcore.generative.pixart import PixArt
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pixart"]


def pixart() -> "Figure":
    """Parameters of PixArt and of DiT by the number of blocks, both 64 features wide.

    Left: those that say how a timestep shifts, scales and gates a block. DiT has a layer for it in each block; PixArt
    has one for all, and a small table in each. Right: all parameters. What PixArt saves pays
    for the attention to a text, which DiT does not have.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    depths, x, t, text = (1, 2, 4, 6), jnp.zeros((1, 8, 8, 4)), jnp.zeros(1), jnp.zeros((1, 3, 64))

    def count(model, *inputs):
        """Count the parameters of modulation, and all."""
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))["params"]
        leaves = [(jax.tree_util.keystr(path), leaf.size) for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)]
        names = ("table", "adaln_single']['linear", "modulation", "norm1']['linear")
        return sum(n for path, n in leaves if any(name in path for name in names)), sum(n for _, n in leaves)

    models = (("DiT", lambda d: (DiT(64, d, num_classes=10), x, t, jnp.zeros(1, jnp.int32)), VERMILION, "s--"),)
    for name, build, color, style in (*models, ("PixArt", lambda d: (PixArt(64, d), x, t, text), BLUE, "o-")):
        counts = np.array([count(*build(depth)) for depth in depths]) / 1e3
        for ax, column in ((left, 0), (right, 1)):
            ax.plot(depths, counts[:, column], style, color=color, label=name)
    for ax, name in ((left, "of modulation"), (right, "in all")):
        ax.set(xlabel="blocks", ylabel=f"parameters {name} / 1000", ylim=(0, None))
        ax.legend(frameon=False)
    return figure
