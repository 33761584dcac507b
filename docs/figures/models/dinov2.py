"""Figure of dlcore.models.dinov2; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure
from experiments.figure_parts import parameters_by_part, stacked_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dinov2"]


def dinov2() -> "Figure":
    """Multiply-adds of DINOv2 small with patches of 14 pixels by the side of the image, and parameters of its sizes.

    Dense layers cost by the number of tokens, the products of attention by its square: at 518 pixels, the side of the
    published positions, they are more than a third of the sum. On the right, feed-forward layers hold about
    two thirds of the parameters.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sides, model = range(70, 519, 112), create_model("dinov2_small")
    costs = [layer_costs(model, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)) for side in sides]
    products = np.array([sum(layer.macs for layer in layers if layer.kind == "product") for layers in costs]) / 1e9
    sums = np.array([total(layers).macs for layers in costs]) / 1e9
    left.stackplot(sides, sums - products, products, colors=PALETTE, labels=["dense layers", "products of attention"])
    left.set(xlabel="side of the image in pixels", ylabel="multiply-adds in billions")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    parts = {"attention": "/attn/", "feed-forward": "/mlp/", "other": "."}
    names = [f"dinov2_{size}" for size in ("small", "base", "large")]
    rows = [parameters_by_part(name, parts) for name in names]
    stacked_bars(right, [name.removeprefix("dinov2_") for name in names], rows)
    right.set(xlabel="parameters in millions")
    right.legend(frameon=False, fontsize=8)
    return figure
