"""Figure of dlcore.generative.super_resolution; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.data.sample_images import sample_image
from dlcore.generative.super_resolution import SRResNet, enlarge
from dlcore.metrics.image_quality import psnr
from dlcore.ops.resize import resize
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["super_resolution"]


def super_resolution() -> "Figure":
    """What SRResNet is given, what it starts from, and what it has to add.

    Left: a picture of 24 x 24 pixels; its bicubic enlargement; and the true picture less that, which the network
    predicts (gray is 0): edges and texture alone. Right: multiply-adds for an output of 96 x 96 pixels by the number of
    blocks. Blocks at the small size, before the pixel shuffle, cost a sixteenth.
    """
    figure, (*axes, right) = new_figure((7.4, 2.4), 1, 4, width_ratios=(1, 1, 1, 1.4))
    image = jnp.asarray(sample_image("china", 96)[None, :, 24:120], jnp.float32) / 255
    low = resize(image, (24, 24), "bicubic", antialias=True)
    bicubic = jnp.clip(enlarge(low, 4), 0, 1)
    rest = image - bicubic
    show_image(axes[0], jnp.clip(low[0], 0, 1), "given")
    show_image(axes[1], bicubic[0], f"bicubic: {psnr(bicubic[0], image[0]):.1f} dB")
    show_image(axes[2], jnp.clip(rest[0] + 0.5, 0, 1), "to be added")
    blocks = np.arange(0, 17, 4)
    for side, name, color, style in ((96, "large", VERMILION, "s--"), (24, "small", BLUE, "o-")):
        macs = [_block_macs(count, side) / 1e9 for count in blocks]
        right.plot(blocks, macs, style, color=color, markersize=4, label=f"blocks at the {name} size")
    right.set(xlabel="residual blocks", ylabel="billion multiply-adds", ylim=(None, 3.8))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _block_macs(blocks: int, side: int) -> int:
    """Multiply-adds of the layers of SRResNet before its pixel shuffles, on images of a side."""
    layers = layer_costs(SRResNet(factor=4, num_blocks=blocks), jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
    return total([layer for layer in layers if layer.path.startswith(("stem", "block", "last"))]).macs
