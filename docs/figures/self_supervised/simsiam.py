"""Figure of dlcore.self_supervised.simsiam; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.self_supervised.simsiam import simsiam_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["simsiam"]


def simsiam() -> "Figure":
    """Who is moved by the loss of SimSiam: length of its gradient against the angle of prediction and projection.

    Left: with the stop-gradient only the prediction is turned toward the projection, which is a fixed target of this
    step. Right: without it the projection is turned toward the prediction as strongly. Then the two meet halfway, and
    the network may reach the least loss by giving all images one vector.
    """
    figure, axes = new_figure((7, 2.7), 1, 2, sharey=True)
    angles = jnp.linspace(0, jnp.pi, 61)
    predictions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    projections = jnp.broadcast_to(jnp.array([1.0, 0.0]), predictions.shape)
    for ax, stop_gradient in zip(axes, (True, False), strict=True):
        gradients = jax.grad(lambda p, z, s=stop_gradient: simsiam_losses(p, z, s).sum(), argnums=(0, 1))(
            predictions, projections
        )
        for gradient, color, style, label in zip(
            gradients, (BLUE, VERMILION), ("-", "--"), ("of the prediction", "of the projection"), strict=True
        ):
            ax.plot(np.degrees(angles), jnp.linalg.norm(gradient, axis=-1), style, color=color, label=label)
        ax.set(xlabel="angle (degrees)", xticks=[0, 45, 90, 135, 180])
        ax.set_title("with stop-gradient" if stop_gradient else "without", fontsize=9)
    axes[0].set(ylabel="length of the gradient")
    axes[1].legend(frameon=False, loc="lower center")
    return figure
