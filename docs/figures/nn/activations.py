"""Figure of dlcore.nn.activations; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.nn.activations import gelu, hard_tanh, leaky_relu, relu, stochastic_gelu
from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["activations"]


def activations() -> "Figure":
    """Left: ReLU, leaky ReLU (slope 0.1), GELU and the hard tanh; right: their slopes.

    Gray dots are means of 100 draws that keep or drop x at random, more often the smaller x is: their expectation is
    GELU. ReLU and the hard tanh have a slope of 0 over a half line, where a unit does not learn; the slope of GELU has
    no jump.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    x = jnp.linspace(-3, 3, 241)
    functions = (
        ("ReLU", relu, VERMILION, "-"),
        ("leaky ReLU", lambda x: leaky_relu(x, 0.1), ORANGE, "--"),
        ("GELU", gelu, BLUE, "-"),
        ("hard tanh", hard_tanh, GREEN, "-."),
    )
    points = jnp.linspace(-3, 3, 31)
    draws = stochastic_gelu(jax.random.key(0), jnp.broadcast_to(points, (100, 31)))
    left.plot(points, draws.mean(0), ".", color=GRAY)
    for name, function, color, style in functions:
        left.plot(x, function(x), style, color=color, label=name)
        right.plot(x, jax.vmap(jax.grad(function))(x), style, color=color)
    left.set(xlabel="x", ylabel="output", ylim=(-1.2, 3))
    right.set(xlabel="x", ylabel="slope")
    left.legend(frameon=False)
    return figure
