"""Figure of dlcore.video.slowfast; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs
from dlcore.report.figure import PALETTE, new_figure
from dlcore.video.slowfast import SlowFast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["slowfast"]


def slowfast() -> "Figure":
    """The two pathways of SlowFast on a clip of 32 frames of 64 x 64 pixels: their shapes and what they cost.

    The fast pathway reads four times the frames with an eighth of the channels, so that it sees motion at a fraction of
    the slow one's multiply-adds after the first stage; the lateral connections between them cost next to nothing.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    layers = layer_costs(SlowFast(10), jax.ShapeDtypeStruct((1, 32, 64, 64, 3), jnp.float32))
    for kind, color, shift in zip(("slow", "fast", "lateral"), PALETTE, (-0.27, 0, 0.27), strict=False):
        stages = [layer for layer in layers if layer.path.startswith(kind)]
        places = np.arange(len(stages)) + shift
        right.bar(places, [layer.macs / 1e6 for layer in stages], width=0.27, color=color, label=kind)
        if kind != "lateral":
            frames, channels = zip(*((layer.output_shape[1], layer.output_shape[-1]) for layer in stages), strict=True)
            left.plot(channels, frames, "o-", color=color, label=kind)
    left.set(xscale="log", xlabel="channels of the stages", ylabel="frames", ylim=(0, 36))
    left.legend(frameon=False)
    right.set(xlabel="stage", ylabel="multiply-adds in millions", xticks=range(3), yscale="log")
    right.legend(frameon=False, loc="upper left")
    return figure
