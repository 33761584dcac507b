"""Figure of dlcore.sequence.bptt; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.sequence.bptt import RNNWeights, backward, forward

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bptt"]


def bptt() -> "Figure":
    """Gradients that vanish or explode: the gradient of the last state with respect to each earlier input.

    A recurrent network of 32 units reads 25 steps; its recurrent matrix is orthogonal, times a scale. Left: without
    the tanh the gradient falls or grows as the scale to the power of the distance. Right: the tanh, whose slope is
    below 1, only takes away from it. Training cannot connect events that lie where the line is near zero.
    """
    figure, axes = new_figure((7, 2.7), 1, 2, sharey=True)
    keys = jax.random.split(jax.random.key(0), 3)
    orthogonal = jnp.linalg.qr(jax.random.normal(keys[0], (32, 32)))[0]
    x, kernel = jax.random.normal(keys[1], (1, 25, 4)), 0.5 * jax.random.normal(keys[2], (4, 32))
    last = jnp.zeros((1, 25, 32)).at[:, -1].set(1.0)
    for ax, linear in zip(axes, (True, False), strict=True):

        @jax.jit
        def lengths(scale, linear=linear):
            weights = RNNWeights(kernel, scale * orthogonal, jnp.zeros(32))
            states = forward(weights, jnp.zeros((1, 32)), x, linear)
            return jnp.linalg.norm(backward(weights, states, x, last, linear)[2][0], axis=-1)

        for scale, color, style in ((0.9, VERMILION, "-."), (1.0, GREEN, "--"), (1.1, BLUE, "-")):
            ax.plot(24 - np.arange(25), lengths(scale), style, color=color, label=f"scale {scale}")
        ax.set(xlabel="distance to the output (steps)", yscale="log")
        ax.set_title("without tanh" if linear else "with tanh", fontsize=9)
    axes[0].set(ylabel="gradient of the input")
    axes[0].legend(frameon=False)
    return figure
