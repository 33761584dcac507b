"""Figure of dlcore.models.swin3d; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.cost.layers import layer_costs
from dlcore.models.swin3d import Swin3D
from dlcore.report.cost_figure import cost_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["swin3d"]


def swin3d() -> "Figure":
    """Costs of the layers of a Video Swin transformer for a clip of 32 frames of 224 x 224 pixels.

    Top: the number of positions falls by four at each of three mergings, and only in space: the 16 times stay to the
    end. Bottom: products of activations (green) are the attention. As it runs in windows of 8 x 7 x 7 positions, it
    does not grow with the square of the number of positions.
    """
    layers = layer_costs(Swin3D(), jax.ShapeDtypeStruct((1, 32, 224, 224, 3), jnp.float32))
    return cost_figure(layers, "Video Swin")
