"""Figure of dlcore.nn.recurrent_cells; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.recurrent_cells import RECURRENT_CELLS
from dlcore.report.figure import BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["recurrent_cells"]


def recurrent_cells() -> "Figure":
    """One unit of several cells, whose gates are set by hand.

    Left: the LSTM's cell stores a 1 until the forget gate closes at step 40, and shows it only while the output gate is
    open. A plain cell loses half of it by step 10. Right: under a constant input a cell that never forgets grows on;
    the coupled cell and the GRU stay below 1.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    steps = np.arange(60)
    write = np.where(steps == 5, 8.0, -8.0)
    keep, show = np.where(steps == 40, -8.0, 8.0), np.where((steps >= 15) & (steps < 30), 8.0, -8.0)
    shown, cell = _states("lstm", np.stack([write, keep, np.full(60, 8.0), show], 1))
    (plain,) = _states("rnn", np.where(steps == 5, 8.0, 0.0)[:, None])
    lines = (cell, BLUE, "-", "LSTM, cell"), (shown, SKY, "-.", "LSTM, output"), (plain, VERMILION, "--", "plain")
    for line, color, style, name in lines:
        left.plot(steps, line, style, color=color, label=name)
    left.set(xlabel="step", ylabel="state", ylim=(-0.05, 1.5))
    left.legend(frameon=False, fontsize=8, loc="upper right")
    kinds = (
        ("lstm_no_forget", "no forget gate", VERMILION, "--", (0, 1, 0)),
        ("lstm", "LSTM, f = 0.88", BLUE, "-", (0, 2, 1, 0)),
        ("lstm_coupled", "coupled, i = 1 - f", GREEN, "-.", (2, 1, 0)),
        ("gru", "GRU, z = 0.88", ORANGE, ":", (0, 2, 1)),
    )
    for kind, name, color, style, gates in kinds:
        states = _states(kind, np.tile(np.float32(gates), (40, 1)))[-1]
        right.plot(np.arange(1, 41), states, style, color=color, label=name)
    right.set(xlabel="step", ylabel="state", ylim=(0, 9))
    right.legend(frameon=False, fontsize=8)
    return figure


def _states(kind: str, terms: np.ndarray) -> tuple[jax.Array, ...]:
    """The carry of one unit after each input term [T, gates]; only a plain cell has a recurrent term."""
    cell = RECURRENT_CELLS[kind]

    def step(carry, term):
        carry = cell.step(carry, term, jnp.repeat(carry[0], cell.gates) * (kind == "rnn"))
        return carry, jax.tree.map(lambda state: state[0], carry)

    return jax.lax.scan(step, (jnp.zeros(1),) * cell.states, jnp.float32(terms))[1]
