"""Figure of dlcore.generative.autoencoder; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.generative.autoencoder import activation_divergence
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["autoencoder"]


def autoencoder() -> "Figure":
    """The penalty of a sparse autoencoder on the mean activation of a unit, and its slope.

    KL(rho || a) is 0 where the unit is active in the share rho of the examples, and rises to both sides: a unit that
    never fires is pushed up, one that always does is pushed down. An L1 penalty (gray) pushes all down alike, also
    those that are dead.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    activation = jnp.linspace(0.005, 0.9, 300)
    for rho, color, style in ((0.05, BLUE, "-"), (0.1, VERMILION, "--"), (0.3, GREEN, ":")):
        left.plot(activation, activation_divergence(activation, rho), style, color=color, label=f"rho = {rho:g}")
        slope = jax.grad(lambda a, rho=rho: activation_divergence(a, rho).sum())(activation)
        right.plot(activation, slope, style, color=color)
    left.plot(activation, activation, color=GRAY, linewidth=0.8, label="L1")
    right.axhline(1, color=GRAY, linewidth=0.8)
    left.set(xlabel="mean activation a", ylabel="penalty / nats", ylim=(0, 2))
    right.set(xlabel="mean activation a", ylabel="slope", ylim=(-8, 8))
    left.legend(frameon=False, loc="upper left")
    return figure
