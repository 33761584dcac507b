"""Figure of dlcore.backprop.layers; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.backprop import layers as layer
from dlcore.data.digits import digits
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["layers"]


def layers() -> "Figure":
    """A digit through a convolution with an edge filter, a ReLU and max pooling (above), and gradients (below).

    The gradient of the sum of the pooled values reaches only the largest pixel of each window, passes the ReLU where
    its input was positive, and is spread by the transposed convolution over the pixels. Blue is negative, red positive.
    """
    x = np.float64(digits("train").arrays["image"][:1])
    edge = np.array([[-1.0, 0, 1]] * 3)[:, :, None, None]
    conv, conv_cache = layer.conv_forward(x, edge, np.zeros(1), pad=1)
    relu, relu_cache = layer.relu_forward(conv)
    pool, pool_cache = layer.max_pool_forward(relu)
    d_pool = np.ones_like(pool)
    d_relu = layer.max_pool_backward(d_pool, pool_cache)
    d_conv = layer.relu_backward(d_relu, relu_cache)
    d_x = layer.conv_backward(d_conv, conv_cache)[0]
    figure, axes = new_figure((7, 3.8), 2, 4)
    rows = ((x, conv, relu, pool), (d_x, d_conv, d_relu, d_pool))
    for ax, values in zip(axes.ravel(), [v for row in rows for v in row], strict=True):
        limit = np.abs(values).max()
        ax.imshow(values[0, :, :, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    for ax, name in zip(axes[0], ("image", "convolution", "ReLU", "max pooling"), strict=True):
        ax.set_title(name, fontsize=10)
    axes[0, 0].set_ylabel("forward")
    axes[1, 0].set_ylabel("gradient")
    return figure
