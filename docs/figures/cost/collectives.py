"""Figure of dlcore.cost.collectives; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.cost.collectives import Collective, by_kind
from dlcore.cost.layers import layer_costs, total
from dlcore.models.registry import create_model
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["collectives"]


def collectives() -> "Figure":
    """Left: what a device sends for each byte of a buffer, by the collective and the number of devices.

    An all-reduce sends twice as much as an all-gather. Right: a training step of ResNet-50 on 8
    devices in float32: data parallelism reduces the gradients; with sharded weights they are gathered twice too.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    devices = range(2, 65)
    for kind, color, style in zip(("all-reduce", "all-gather", "collective-permute"), PALETTE, "--:", strict=False):
        sent = [Collective(kind, 10**6, n).sent / 10**6 for n in devices]
        left.plot(devices, sent, style, color=color, label=kind)
    left.set(xlabel="devices", ylabel="sent / buffer", ylim=(0, 2.9))
    left.legend(frameon=False, fontsize=9)
    layers = layer_costs(create_model("resnet50"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    size = 4 * total(layers).parameters
    steps = {
        "data parallel": [Collective("all-reduce", size, 8)],
        "sharded weights": [Collective("all-gather", size, 8, times=2), Collective("reduce-scatter", size, 8)],
    }
    for row, operations in enumerate(steps.values()):
        start = 0.0
        for kind, (_, _, sent) in by_kind(operations).items():
            color = PALETTE[("all-reduce", "all-gather", "reduce-scatter").index(kind)]
            right.bar(row, sent / 1e6, 0.6, start / 1e6, color=color)
            right.text(row, (start + sent / 2) / 1e6, kind, ha="center", va="center", color="white", fontsize=9)
            start += sent
    right.set(ylabel="sent by a device (MB)", xticks=range(2))
    right.set_xticklabels(steps)
    return figure
