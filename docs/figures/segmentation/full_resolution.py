"""Figure of dlcore.segmentation.full_resolution; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.cost.layers import layer_costs, total
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.segmentation.full_resolution import FullResolutionNet
from dlcore.segmentation.unet import UNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["full_resolution"]


def full_resolution() -> "Figure":
    """Multiply-adds to segment 192 x 240 pixels, by the region that a pixel's class depends on.

    Gray: a patch for each pixel, which computes the same values again. Blue: the same layers on the whole image; to
    see twice as far costs twice as much. Red: a U-Net of equal width sees 215 pixels for a tenth of the price of 129
    at full resolution.
    """
    figure, axes = new_figure((7, 3))
    dense = [view_and_cost(FullResolutionNet(12, count, 32)) for count in (2, 4, 8, 16, 32, 64)]
    patches = [patch_cost(count) for count in (2, 4, 8, 16, 32)]
    unets = [view_and_cost(UNet(12, (32,) * count)) for count in (2, 3, 4, 5)]
    axes.loglog(*zip(*patches, strict=True), "s--", color=GRAY, label="a patch for each pixel")
    axes.loglog(*zip(*dense, strict=True), "o-", color=BLUE, label="full resolution")
    axes.loglog(*zip(*unets, strict=True), "^-.", color=VERMILION, label="U-Net of 2 to 5 sizes")
    axes.set(xlabel="side of the region that a pixel's class depends on / pixels", ylabel="multiply-adds")
    axes.legend(frameon=False, fontsize=8)
    return figure


def view_and_cost(model: nn.Module, height: int = 192, width: int = 240) -> tuple[float, int]:
    """Receptive field of a model's scores, and its multiply-adds on one image."""
    layers = layer_costs(model, jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32))
    return layers[-1].receptive_field[0], total(layers).macs


def patch_cost(count: int) -> tuple[float, int]:
    """As `view_and_cost`, of a network that classifies a patch for each pixel."""
    side = 1 + 2 * count
    model = FullResolutionNet(12, count, 32, padding="VALID")
    return side, 192 * 240 * total(layer_costs(model, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))).macs
