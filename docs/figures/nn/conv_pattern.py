"""Figure of dlcore.nn.conv_pattern; its docstring is the caption."""

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.cost.layers import layer_costs
from dlcore.nn.conv_pattern import PatternNet
from dlcore.nn.conv_pattern import conv_pattern as write_pattern
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["conv_pattern"]


def conv_pattern() -> "Figure":
    """Parameters and activations of the layers of [(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX on images of 32 x 32 x 3.

    The first convolutions give the largest maps; the first fully connected layer holds the most parameters.
    """
    figure, axes = new_figure((7, 3), 1, 2, sharey=True)
    pattern = write_pattern(n=2, m=3, k=1)
    layers = layer_costs(PatternNet(10, pattern), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    layers = [layer for layer in layers if layer.macs]
    names = [layer.path.removesuffix("/dense") for layer in layers]
    values = [layer.parameters / 1e3 for layer in layers], [math.prod(layer.output_shape) / 1e3 for layer in layers]
    for ax, numbers, label, color in zip(axes, values, ("parameters", "output values"), PALETTE, strict=False):
        ax.barh(names, numbers, color=color)
        ax.set(xlabel=f"{label} (thousands)")
    axes[0].invert_yaxis()
    return figure
