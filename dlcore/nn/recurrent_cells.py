"""Recurrent cells: one step of the vanilla RNN, the LSTM and its variants, and the GRU.

Elman 1990; Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Gers & Schmidhuber 2000 (peepholes); Cho et
al. 2014, arXiv:1406.1078 (GRU); Greff et al. 2017, arXiv:1503.04069 (variants). With the input term a = W_x x + b_x and
the recurrent term u = W_h h + b_h:

    rnn               h' = tanh(a + u), or max(0, a + u)
    gru               r, z = sigmoid(a + u), n = tanh(a_n + r u_n);  h' = (1 - z) n + z h
    lstm              i, f, o = sigmoid(a + u), g = tanh(a + u);  c' = f c + i g,  h' = o tanh(c')
    lstm_no_forget    f = 1: the cell of 1997
    lstm_no_output    o = 1
    lstm_coupled      i = 1 - f
    lstm_peephole     i and f see p c, and o sees p c', p a vector for each of them

The gates stand in this order in a and u: i, f, g, o, without the one that a variant lacks (a coupled cell has f, g, o),
and r, z, n.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.ops.checks import check_shapes

__all__ = [
    "RECURRENT_CELLS",
    "Carry",
    "RecurrentCell",
    "coupled_lstm_cell",
    "gru_cell",
    "lstm_cell",
    "no_forget_lstm_cell",
    "no_output_lstm_cell",
    "peephole_lstm_cell",
    "relu_rnn_cell",
    "rnn_cell",
]

Carry = tuple[jax.Array, ...]


def rnn_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the vanilla (Elman) RNN.

    Args:
      carry: (h,), h: [..., H].
      a: [..., H], input term W_x x + b_x.
      u: [..., H], recurrent term W_h h + b_h.

    Returns:
      (h',).
    """
    _check_step(carry, a, u, 1, 1)
    return (jnp.tanh(a + u),)


def relu_rnn_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the RNN with rectified units (Le, Jaitly & Hinton 2015, arXiv:1504.00941).

    Args:
      carry: (h,), h: [..., H].
      a: [..., H], input term W_x x + b_x.
      u: [..., H], recurrent term W_h h + b_h.

    Returns:
      (h',).
    """
    _check_step(carry, a, u, 1, 1)
    return (nn.relu(a + u),)


def lstm_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the LSTM.

    Args:
      carry: (h, c), both [..., H].
      a: [..., 4 H], input term of the gates i, f, g, o in this order.
      u: [..., 4 H], recurrent term of the same gates.

    Returns:
      (h', c').
    """
    _check_step(carry, a, u, 4, 2)
    _, c = carry
    i, f, g, o = jnp.split(a + u, 4, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the GRU.

    Args:
      carry: (h,), h: [..., H].
      a: [..., 3 H], input term of the gates r, z, n in this order.
      u: [..., 3 H], recurrent term of the same gates.

    Returns:
      (h',).
    """
    _check_step(carry, a, u, 3, 1)
    (h,) = carry
    a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
    u_r, u_z, u_n = jnp.split(u, 3, axis=-1)
    r, z = nn.sigmoid(a_r + u_r), nn.sigmoid(a_z + u_z)
    n = jnp.tanh(a_n + r * u_n)
    return ((1 - z) * n + z * h,)


def no_forget_lstm_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the LSTM without a forget gate, which never forgets.

    Args:
      carry: (h, c), both [..., H].
      a: [..., 3 H], input term of the gates i, g, o in this order.
      u: [..., 3 H], recurrent term of the same gates.

    Returns:
      (h', c').
    """
    _check_step(carry, a, u, 3, 2)
    _, c = carry
    i, g, o = jnp.split(a + u, 3, axis=-1)
    c = c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def no_output_lstm_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the LSTM without an output gate, which shows all it has.

    Args:
      carry: (h, c), both [..., H].
      a: [..., 3 H], input term of the gates i, f, g in this order.
      u: [..., 3 H], recurrent term of the same gates.

    Returns:
      (h', c').
    """
    _check_step(carry, a, u, 3, 2)
    _, c = carry
    i, f, g = jnp.split(a + u, 3, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return jnp.tanh(c), c


def coupled_lstm_cell(carry: Carry, a: jax.Array, u: jax.Array) -> Carry:
    """One step of the LSTM that takes in as much as it forgets, i = 1 - f.

    Args:
      carry: (h, c), both [..., H].
      a: [..., 3 H], input term of the gates f, g, o in this order.
      u: [..., 3 H], recurrent term of the same gates.

    Returns:
      (h', c').
    """
    _check_step(carry, a, u, 3, 2)
    _, c = carry
    f, g, o = jnp.split(a + u, 3, axis=-1)
    f = nn.sigmoid(f)
    c = f * c + (1 - f) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def peephole_lstm_cell(carry: Carry, a: jax.Array, u: jax.Array, peephole: jax.Array) -> Carry:
    """One step of the LSTM whose gates see the cell.

    Args:
      carry: (h, c), both [..., H].
      a: [..., 4 H], input term of the gates i, f, g, o in this order.
      u: [..., 4 H], recurrent term of the same gates.
      peephole: [3, H], weights of the cell in i, f and o; the first two see c, the last c'.

    Returns:
      (h', c').
    """
    _check_step(carry, a, u, 4, 2)
    check_shapes(peephole=(peephole, f"3 {carry[-1].shape[-1]}"))
    _, c = carry
    i, f, g, o = jnp.split(a + u, 4, axis=-1)
    c = nn.sigmoid(f + peephole[1] * c) * c + nn.sigmoid(i + peephole[0] * c) * jnp.tanh(g)
    return nn.sigmoid(o + peephole[2] * c) * jnp.tanh(c), c


def _check_step(carry: Carry, a: jax.Array, u: jax.Array, gates: int, states: int) -> None:
    if len(carry) != states:
        raise ValueError(f"carry: {len(carry)} arrays; allowed: {states}, the state of the cell")
    *projected, cell = carry  # the h of a projected LSTM has another width
    width = gates * cell.shape[-1]
    check_shapes(
        h=(projected[0] if projected else None, "... P or None"),
        carry=(cell, "... H"),
        a=(a, f"... {width}"),
        u=(u, f"... {width}"),
    )


class RecurrentCell(NamedTuple):
    """A kind of recurrent cell.

    Args:
      step: (carry, a, u) -> carry, whose first entry is the output; with peepholes a keyword more, `peephole`.
      gates: width of a and u in multiples of H.
      states: number of arrays in the carry.
      forget: which of the gates forgets; None where none does.
      peepholes: vectors [H] of weights from the cell to its gates.
    """

    step: Callable[..., Carry]
    gates: int
    states: int
    forget: int | None = None
    peepholes: int = 0


RECURRENT_CELLS = {
    "rnn": RecurrentCell(rnn_cell, 1, 1),
    "relu_rnn": RecurrentCell(relu_rnn_cell, 1, 1),
    "lstm": RecurrentCell(lstm_cell, 4, 2, forget=1),
    "gru": RecurrentCell(gru_cell, 3, 1),
    "lstm_no_forget": RecurrentCell(no_forget_lstm_cell, 3, 2),
    "lstm_no_output": RecurrentCell(no_output_lstm_cell, 3, 2, forget=1),
    "lstm_coupled": RecurrentCell(coupled_lstm_cell, 3, 2, forget=0),
    "lstm_peephole": RecurrentCell(peephole_lstm_cell, 4, 2, forget=1, peepholes=3),
}
"""Name -> cell."""
