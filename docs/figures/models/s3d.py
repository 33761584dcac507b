"""Figure of dlcore.models.s3d; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.models.s3d import SeparableConv
from dlcore.nn import Conv
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["s3d"]


def s3d() -> "Figure":
    """A 3-D convolution of 3 x 3 x 3 against S3D's pair, 3 x 3 over space and 3 over time, on 8 x 28 x 28 positions.

    Left: parameters, right: multiply-adds, by the number of input and output channels. The pair has less than half of
    both (27 weights become 9 + 3 for each pair of channels), and a nonlinearity more.
    """
    figure, axes = new_figure((7, 2.7), 1, 2)
    channels = np.array([32, 64, 128, 192, 256])
    for name, build, color, marker, arguments in (
        ("3 x 3 x 3", lambda c: Conv(c, (3, 3, 3), padding=1, use_bias=False), VERMILION, "s", ()),
        ("separable", lambda c: SeparableConv(c), BLUE, "o", (False,)),
    ):
        shapes = [jax.ShapeDtypeStruct((1, 8, 28, 28, c), jnp.float32) for c in channels.tolist()]
        costs = [total(layer_costs(build(x.shape[-1]), x, *arguments)) for x in shapes]
        axes[0].plot(channels, [cost.parameters / 1e6 for cost in costs], marker=marker, color=color, label=name)
        axes[1].plot(channels, [cost.macs / 1e9 for cost in costs], marker=marker, color=color, label=name)
    axes[0].set(xlabel="channels", ylabel="parameters (millions)")
    axes[1].set(xlabel="channels", ylabel="multiply-adds (billions)")
    axes[0].legend(frameon=False)
    return figure
