"""Figure of dlcore.sequence.char_rnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.sequence.char_rnn import next_token_loss
from dlcore.sequence.networks import CharRNN
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["char_rnn"]


def char_rnn() -> "Figure":
    """What the loss of the last of 24 characters, read in chunks of eight, knows of the state before each.

    Blue: slope of that loss by the state; it crosses the borders of the chunks (dotted), because the next chunk goes on
    from the state. Red: the gradient in training; it is zero (no dots) before the last border, where truncation stops
    it.
    """
    figure, axes = new_figure((7, 2.6), 1, 1)
    model = CharRNN(20, 32, cell="gru")
    tokens = jax.random.randint(jax.random.key(0), (1, 25), 0, 20)
    params = nonzero_variables(model, model.start(1), tokens)["params"]

    @jax.jit
    def slopes(is_cut: jax.Array) -> jax.Array:
        def loss(steps: jax.Array) -> jax.Array:
            carry = model.start(1)
            for t in range(24):
                cut = jax.lax.stop_gradient(carry) if t % 8 == 0 else carry
                carry = jax.tree.map(lambda a, b, t=t: jnp.where(is_cut, a, b) + steps[t], cut, carry)
                value, carry, _ = next_token_loss(model, params, carry, tokens[:, t : t + 2])
            return value.sum()

        return jnp.linalg.norm(jax.grad(loss)(jnp.zeros((24, 32))), axis=-1)

    for is_cut, color, style, label in (
        (False, BLUE, "o-", "influence"),
        (True, VERMILION, "s--", "gradient in training"),
    ):
        values = np.asarray(slopes(jnp.array(is_cut)))
        axes.plot(range(1, 25), np.where(values > 0, values, np.nan), style, color=color, label=label)
    for border in (8.5, 16.5):
        axes.axvline(border, color="gray", linestyle=":")
    axes.set(xlabel="character after the state", ylabel="slope of the last loss", yscale="log")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
