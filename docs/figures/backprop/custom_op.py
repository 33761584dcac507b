"""Figure of dlcore.backprop.custom_op; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.backprop.custom_op import sigmoid
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["custom_op"]


def custom_op() -> "Figure":
    """Derivative of the sigmoid in float32 with its own backward pass and as autodiff of 1 / (1 + exp(-x)) gives it.

    The second is NaN (shaded) where exp(-x) overflows. The first is finite everywhere and keeps one array for the
    backward pass, its output (the legend counts them); where the output rounds to 1, its derivative is 0.
    """
    figure, ax = new_figure((7, 2.8))
    x = jnp.linspace(-120, 120, 961)

    def written(x):
        return 1 / (1 + jnp.exp(-x))

    for function, name, style in ((written, "as written", (VERMILION, 5, 0.5)), (sigmoid, "by hand", (BLUE, 1.5, 1))):
        kept = len(jax.tree.leaves(jax.vjp(function, x)[1]))
        slope = jax.vmap(jax.grad(function))(x)
        color, width, alpha = style
        ax.plot(
            x, slope, color=color, linewidth=width, alpha=alpha, label=f"{name}, keeps {kept} array{'s' * (kept > 1)}"
        )
        ax.fill_between(x, 1e-40, 1, where=jnp.isnan(slope), color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel="x", ylabel="derivative", yscale="log", ylim=(1e-40, 1))
    ax.legend(frameon=False)
    return figure
