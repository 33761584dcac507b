"""Figure of dlcore.models.mvit; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.cost.layers import layer_costs
from dlcore.models.mvit import MViT
from dlcore.report.cost_figure import cost_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mvit"]


def mvit() -> "Figure":
    """Costs of the layers of an MViT v2 with 8 blocks for a clip of 16 frames of 224 x 224 pixels, in their order.

    Top: positions fall and channels rise from stage to stage, as in a convolutional network: a block pools its
    queries at the beginning of a stage. Below: keys and values are pooled more strongly in early stages, which keeps
    products of activations (green), the attention itself, affordable where there are 25,000 positions.
    """
    model = MViT(stages=(1, 2, 3, 2))
    layers = layer_costs(model, jax.ShapeDtypeStruct((1, 16, 224, 224, 3), jnp.float32))
    return cost_figure(layers, "MViT v2")
