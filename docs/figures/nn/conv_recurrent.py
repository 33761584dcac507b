"""Figure of dlcore.nn.conv_recurrent; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.nn.conv_recurrent import ConvRecurrent
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["conv_recurrent"]


def conv_recurrent() -> "Figure":
    """How pixels of earlier frames count for one place (circle) of the last state of a ConvLSTM with 3 x 3 kernels.

    The influence is the gradient's size, scaled in every panel; it comes from an untrained layer. Each step back lets
    the place see a pixel further out to every side, and no more: an object that moves faster than a pixel a frame
    leaves the window and is lost.
    """
    figure, axes = new_figure((7, 2.1), 1, 4)
    layer = ConvRecurrent(4, cell="lstm")
    x = 0.1 * jax.random.normal(jax.random.key(0), (1, 8, 17, 17, 1))
    carry = layer.initial_carry(1, (17, 17))
    variables = layer.init(jax.random.key(1), carry, x)
    jacobian = jax.jacrev(lambda x: layer.apply(variables, carry, x)[1][0, -1, 8, 8])(x)
    influence = jnp.abs(jacobian).sum((0, 1, 5))
    for ax, back in zip(axes, (0, 1, 3, 6), strict=True):
        frame = influence[7 - back]
        ax.imshow((frame / frame.max()) ** 0.4, cmap="Blues")
        ax.plot(8, 8, "o", color=VERMILION, fillstyle="none", markersize=6)
        reach = int((frame > 0).any(0).sum())
        name = f"{back} back" if back else "same frame"
        ax.set(xticks=[], yticks=[], xlabel=f"{name}: {reach} x {reach}")
        ax.xaxis.label.set_size(9)
    return figure
