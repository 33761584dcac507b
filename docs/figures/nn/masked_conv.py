"""Figure of dlcore.nn.masked_conv; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn.masked_conv import MaskedConv, causal_kernel_mask
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["masked_conv"]


def masked_conv() -> "Figure":
    """Left: masks of 5 x 5 kernels; right: the pixels that a stack of 3 x 3 layers reads for an output (circle).

    Type A, for the first layer, leaves out the pixel itself; type B, for the others, includes it. So no output sees its
    own pixel or a later one. But the stack has a blind spot: pixels above to the right are earlier and not read.
    """
    figure, (first, second, right) = new_figure((7, 2.6), 1, 3)
    for ax, kind in ((first, "A"), (second, "B")):
        ax.imshow(causal_kernel_mask((5, 5), 1, 1, kind)[..., 0, 0], cmap="Blues", vmin=0, vmax=1.4)
        ax.plot(2, 2, "o", color=VERMILION, fillstyle="none", markersize=14)
        ax.set(xticks=[], yticks=[], xlabel=f"type {kind}")
        ax.set_xticks(np.arange(0.5, 4), minor=True)
        ax.set_yticks(np.arange(0.5, 4), minor=True)
        ax.grid(which="minor", color="white")
        ax.tick_params(which="both", length=0)
    stack = nn.Sequential([MaskedConv(4, mask_type="A"), *[MaskedConv(4) for _ in range(5)]])
    x = jnp.ones((1, 17, 17, 1))
    variables = stack.init(jax.random.key(0), x)
    gradient = jax.grad(lambda x: jnp.abs(stack.apply(variables, x)[0, 10, 8]).sum())(x)
    right.imshow(gradient[0, :, :, 0] != 0, cmap="Blues", vmin=0, vmax=1.4)
    right.plot(8, 10, "o", color=VERMILION, fillstyle="none", markersize=8)
    right.annotate("blind spot", (11.5, 9), (10.5, 13.5), fontsize=9, arrowprops={"arrowstyle": "->"})
    right.set(xticks=[], yticks=[], xlabel="read by a stack of six")
    return figure
