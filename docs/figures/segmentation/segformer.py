"""Figure of dlcore.segmentation.segformer; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs
from dlcore.models import create_model
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.segmentation.segformer import SegFormer
from dlcore.segmentation.upernet import UPerNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["segformer"]


def segformer() -> "Figure":
    """Where SegFormer saves: fewer keys in the fine stages of its encoder, and a head of linear layers alone.

    Left: entries of one head's attention matrix in the four stages, with the reduced map of keys (blue) and with all
    keys (gray). Right: multiply-adds of the encoder and of two heads on its maps, for 512 x 512 pixels and 150
    classes.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=(1.3, 1))
    encoder = create_model("mit_b0")
    x, strides = np.arange(4), 4 * 2 ** np.arange(4)
    places = (512 // strides) ** 2
    left.bar(x - 0.2, places**2, 0.38, color=GRAY, label="full")
    left.bar(x + 0.2, places**2 // np.square(encoder.reductions), 0.38, color=BLUE, label="reduced keys")
    left.set(yscale="log", xlabel="stride of the stage / pixels", ylabel="entries", xticks=x, xticklabels=strides)
    left.legend(frameon=False, fontsize=8)
    costs = {"encoder": 0.0}
    for name, model in {"SegFormer": SegFormer(encoder, 150), "UPerNet": UPerNet(encoder, 150)}.items():
        layers = layer_costs(model, jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32))
        inside = [layer.path.startswith("backbone") for layer in layers]
        costs["encoder"] = sum(layer.macs for layer, encodes in zip(layers, inside, strict=True) if encodes) / 1e9
        costs[name] = sum(layer.macs for layer, encodes in zip(layers, inside, strict=True) if not encodes) / 1e9
    right.bar(["MiT-B0", "SegFormer's\nhead", "UPerNet's\nhead"], list(costs.values()), color=(GRAY, BLUE, VERMILION))
    right.bar_label(right.containers[0], fmt="%.3g", fontsize=9)
    right.set(yscale="log", ylabel="multiply-adds / 1e9")
    return figure
