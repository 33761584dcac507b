"""Figure of dlcore.nn.locally_connected; its docstring is the caption."""

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.locally_connected import LocallyConnected
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["locally_connected"]


def locally_connected() -> "Figure":
    """An image with the same cross at nine places, and outputs of two layers with random 3 x 3 weights.

    The convolution answers alike at each cross, since it has the same nine weights everywhere. The locally connected
    layer has weights of its own at each of 441 places, so it answers differently: it must learn a pattern anew wherever
    it may be.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    image = np.zeros((21, 21), np.float32)
    for row in range(3, 21, 7):
        for column in range(3, 21, 7):
            image[row - 1 : row + 2, column] = image[row, column - 1 : column + 2] = 1
    x = jnp.asarray(image)[None, :, :, None]
    axes[0].imshow(image, cmap="gray_r")
    axes[0].set_xlabel("input")
    for ax, name, layer in zip(
        axes[1:], ("convolution", "locally connected"), (nn.Conv(1, (3, 3)), LocallyConnected(1, (3, 3))), strict=True
    ):
        y, variables = layer.init_with_output(jax.random.key(1), x)
        response = np.asarray(y[0, :, :, 0])
        limit = np.abs(response).max()
        ax.imshow(response, cmap="RdBu", vmin=-limit, vmax=limit)
        ax.set_xlabel(f"{name}: {variables['params']['kernel'].size} weights")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure
