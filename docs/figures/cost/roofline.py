"""Figure of dlcore.cost.roofline; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs
from dlcore.cost.roofline import CHIPS
from dlcore.cost.roofline import roofline as bound
from dlcore.models.registry import create_model
from dlcore.report.figure import GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["roofline"]


def roofline() -> "Figure":
    """The speed that an H100 can reach at most for the layers of ResNet-50 and ViT-S/16, 64 images in bfloat16.

    Each point is a layer with products; left of the bend memory binds. The gray line is a TPU v5e's.
    """
    figure, ax = new_figure((7, 3.4))
    chip, x = CHIPS["h100"], jax.ShapeDtypeStruct((64, 224, 224, 3), jnp.bfloat16)
    for name, label, color in (("resnet50", "ResNet-50", VERMILION), ("vit_s_16", "ViT-S/16", PALETTE[0])):
        layers = [layer for layer in layer_costs(create_model(name, dtype=jnp.bfloat16), x) if layer.macs]
        bounds = [bound(layer, chip) for layer in layers]
        speeds = [layer.flops / b.seconds / 1e12 for layer, b in zip(layers, bounds, strict=True)]
        ax.scatter([b.intensity for b in bounds], speeds, 15, color=color, alpha=0.4, label=label)
    intensity = np.geomspace(1, 3000, 200)
    for name, color in (("h100", "black"), ("v5e", GRAY)):
        speed = np.minimum(CHIPS[name].flops, intensity * CHIPS[name].bandwidth) / 1e12
        ax.plot(intensity, speed, color=color, linewidth=1, label=name.upper(), zorder=0)
    ax.set(xlabel="intensity (FLOPs / byte)", ylabel="TFLOP/s", xscale="log", yscale="log")
    ax.legend(frameon=False)
    return figure
