"""Figure of dlcore.nn.recurrent; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.nn.recurrent import Recurrent, RecurrentStack
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["recurrent"]


def recurrent() -> "Figure":
    """Left: the gradient of the last state of 32 units by the input of earlier steps, before any training.

    In a plain network and a GRU it fades fast, in an LSTM more slowly; a forget bias of 4 keeps its gates open, and the
    gradient stays. Right: the same for an output in the middle: one direction sees only what came before, a
    bidirectional stack both sides.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    x = jax.random.normal(jax.random.key(0), (1, 60, 8))
    rules = (
        ("plain", Recurrent(32, cell="rnn"), VERMILION, "-"),
        ("GRU", Recurrent(32, cell="gru"), GREEN, "--"),
        ("LSTM, forget bias 1", Recurrent(32), BLUE, "-."),
        ("LSTM, forget bias 4", Recurrent(32, forget_bias=4.0), ORANGE, ":"),
    )

    def influence(layer, step):
        variables = layer.init(jax.random.key(1), None, x)
        jacobian = jax.jacrev(lambda x: layer.apply(variables, None, x)[1][0, step])(x)
        return jnp.sqrt((jacobian**2).sum((0, 1, 3)))

    for name, layer, color, style in rules:
        left.semilogy(59 - jnp.arange(60), influence(layer, 59), style, color=color, label=name)
    left.set(xlabel="steps back", ylabel="norm of the gradient", ylim=(1e-9, 10))
    left.legend(frameon=False, fontsize=8)
    for name, both, color, style in (("one direction", False, VERMILION, "-"), ("bidirectional", True, BLUE, "--")):
        norms = influence(RecurrentStack(16, bidirectional=both), 30)
        right.semilogy(norms.at[norms == 0].set(jnp.nan), style, color=color, label=name)
    right.set(xlabel="step of the input", ylabel="norm of the gradient", ylim=(1e-9, 10))
    right.legend(frameon=False, loc="lower right")
    return figure
