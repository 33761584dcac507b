"""Figure of dlcore.nn.separable; its docstring is the caption."""

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.separable import DepthwiseSeparableConv
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["separable"]


def separable() -> "Figure":
    """Left: responses of four outputs to one point in one input channel, which show the kernels (random weights).

    A convolution has another 5 x 5 pattern for each output. The separable one has a single pattern for the input
    channel and gives each output a multiple of it. Right: weights of a layer with 64 inputs and 64 outputs against the
    side of its kernel.
    """
    figure, axes = new_figure((7, 2.7), 2, 5, width_ratios=(1, 1, 1, 1, 2.6))
    point = jnp.zeros((1, 7, 7, 3)).at[0, 3, 3, 0].set(1)
    layers = (("convolution", nn.Conv(4, (5, 5))), ("separable", DepthwiseSeparableConv(4, (5, 5))))
    for row, (name, layer) in zip(axes, layers, strict=True):
        response = np.asarray(layer.init_with_output(jax.random.key(3), point)[0][0])
        limit = np.abs(response).max()
        for number, ax in enumerate(row[:4]):
            ax.imshow(response[..., number], cmap="RdBu", vmin=-limit, vmax=limit)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    for number in range(4):
        axes[1, number].set_xlabel(f"output {number + 1}")
    grid = axes[0, 4].get_gridspec()
    for ax in axes[:, 4]:
        ax.remove()
    right = figure.add_subplot(grid[:, 4])
    right.spines[["top", "right"]].set_visible(False)
    sides, x = (1, 3, 5, 7, 9), jax.ShapeDtypeStruct((1, 9, 9, 64), jnp.float32)
    kinds = (("convolution", nn.Conv, VERMILION, "o-"), ("separable", DepthwiseSeparableConv, BLUE, "s--"))
    for name, layer, color, style in kinds:
        shapes = [jax.eval_shape(layer(64, (k, k), use_bias=False).init, jax.random.key(0), x) for k in sides]
        counts = [sum(leaf.size for leaf in jax.tree.leaves(shape)) for shape in shapes]
        right.semilogy(sides, counts, style, color=color, markersize=4, label=name)
    right.set(xlabel="kernel's side / pixels", ylabel="weights", xticks=sides)
    right.legend(frameon=False)
    return figure
