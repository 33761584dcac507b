"""Recurrent layers over time, a stack of them, and one that reads both ways.

Schuster & Paliwal 1997 (both ways); Sak, Senior & Beaufays 2014, arXiv:1402.1128 (projection). The steps are those of
`dlcore.nn.recurrent_cells`, with a = W_x x + b_x, computed for all time steps at once, and u = W_h h + b_h:

    h', c' = step((h, c), a, u)
    projected    h' = W_p h', of fewer dimensions, which is also what the next step sees

Layers have two biases, and gates in torch's order (i, f, g, o and r, z, n), with kernels transposed to [in, out]; as in
torch the GRU's reset gate acts on u_n, its bias included. The recurrent kernel starts orthogonal, gate by gate, and the
rest as in `nn.Dense`; the bias of the LSTM's forget gate starts at `forget_bias` (Jozefowicz et al. 2015), peepholes at
zero.

Rows of different lengths: with `lengths: [B]` a row ends at its own last step. The carry stays what it was there, the
outputs behind it are zero, and a layer that reads backwards starts there, not at the padding (torch: packed sequences).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.choices import check_choice, check_whole_number
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.initializers import orthogonal
from dlcore.nn.recurrent_cells import RECURRENT_CELLS, Carry, RecurrentCell
from dlcore.ops.checks import check_shapes, describe_array
from dlcore.ops.cpu.dense import dense_product
from dlcore.ops.precision import acc_dtype_of

__all__ = ["BidirectionalRecurrent", "Recurrent", "RecurrentStack", "orthogonal_by_gate", "reverse_sequences"]


def reverse_sequences(x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    """Reverse each row of a batch within its own length; done twice, it gives the batch back.

    Args:
      x: [B, T, ...].
      lengths: [B] int, steps that count in each row; None: all T.

    Returns:
      [B, T, ...], x[b, lengths[b] - 1 - t] at step t; the steps behind are reversed among themselves.
    """
    if jnp.ndim(x) < 2:
        raise ValueError(f"x={describe_array(x)}: no rows of steps; allowed: [B, T, ...]")
    if lengths is None:
        return x[:, ::-1]
    steps = x.shape[1]
    order = (_checked(lengths, x)[:, None] - 1 - jnp.arange(steps)) % steps
    return jnp.take_along_axis(x, order.reshape(order.shape + (1,) * (x.ndim - 2)), axis=1)


def _checked(lengths: jax.Array, x: jax.Array) -> jax.Array:
    rows, steps = x.shape[:2]
    if jnp.shape(lengths) != (rows,) or not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise ValueError(f"lengths={describe_array(lengths)}: wrong; allowed: int[{rows}]")
    if not isinstance(lengths, jax.core.Tracer) and rows:
        lengths_np = np.asarray(lengths)  # else a jax.Array would be traced inside jit
        low, high = lengths_np.min(), lengths_np.max()
        if low < 0 or high > steps:
            raise ValueError(f"lengths={low if low < 0 else high}: out of range; allowed: 0 to the {steps} steps of x")
    return jnp.asarray(lengths)


class Recurrent(CheckedModule):
    """One recurrent layer over time: (carry, x [B, T, D]) -> (carry, h [B, T, H]).

    Parameters `input_kernel: [D, gates H]`, `hidden_kernel: [H, gates H]` and a bias of each; with a projection
    `projection: [H, P]`, and P in place of H in the hidden kernel and the outputs; with peepholes `peephole: [3, H]`.

    Args:
      features: H, size of the state.
      cell: one of RECURRENT_CELLS.
      proj_features: P, size of the projected output; None for no projection.
      forget_bias: initial bias of the LSTM's forget gate.
      unroll: time steps in one iteration of the loop; changes the speed alone.
      input_init: initializer of the input kernel.
      learned_carry: without a carry, start from parameters `initial0: [H]`, `initial1`, ..., one for each state of the
        cell, zero at first; otherwise from zeros.
    """

    features: Count
    cell: str = "lstm"
    proj_features: Count | None = None
    forget_bias: float = 1.0
    unroll: Count = 1
    dtype: Any = None
    input_init: Any = nn.initializers.lecun_normal()
    learned_carry: bool = False

    def initial_carry(self, batch_size: int) -> Carry:
        """Zero state before the first step.

        Args:
          batch_size: examples.

        Returns:
          One [B, H] of zeros for each state of the cell; the first is [B, P] with a projection.
        """
        sizes = [self._outputs] + [self.features] * (self._kind.states - 1)
        return tuple(jnp.zeros((batch_size, size), jnp.float32) for size in sizes)

    @property
    def _outputs(self) -> int:
        if self.proj_features is None:
            return self.features
        if self._kind.states == 1:
            raise ValueError(f"proj_features={self.proj_features}: not of {self.cell}; allowed: None, or cell='lstm'")
        return self.proj_features

    @property
    def _kind(self) -> RecurrentCell:
        check_choice("cell", self.cell, RECURRENT_CELLS)
        return RECURRENT_CELLS[self.cell]

    @nn.compact
    def __call__(
        self, carry: Carry | None, x: jax.Array, lengths: jax.Array | None = None, term: jax.Array | None = None
    ) -> tuple[Carry, jax.Array]:
        """Run over time; the carry keeps its own dtype, float32 at least.

        Args:
          carry: state before the first step, from `initial_carry` or an earlier call; None: zeros, or what was learned.
          x: [B, T, D].
          lengths: [B] int, steps that count in each row; None: all T.
          term: [B, gates H], added to the input term of every step; None adds nothing.

        Returns:
          (state after the last step of each row, outputs [B, T, H], zero behind it).
        """
        kind = self._kind
        step, gates = kind.step, kind.gates
        check_shapes(x=(x, "B T D"))
        width = gates * self.features
        w_x = self.param("input_kernel", self.input_init, (x.shape[-1], width))
        w_h = self.param("hidden_kernel", orthogonal_by_gate(gates), (self._outputs, width))
        w_p = None
        if self.proj_features is not None:
            w_p = self.param("projection", nn.initializers.lecun_normal(), (self.features, self.proj_features))
        if kind.peepholes:
            shape = (kind.peepholes, self.features)
            step = functools.partial(step, peephole=self.param("peephole", nn.initializers.zeros, shape))
        if self.learned_carry:
            zeros = self.initial_carry(1)
            learned = [self.param(f"initial{i}", nn.initializers.zeros, h.shape[1:]) for i, h in enumerate(zeros)]
            if carry is None:
                carry = tuple(jnp.broadcast_to(h, (x.shape[0], *h.shape)) for h in learned)
        carry = self.initial_carry(x.shape[0]) if carry is None else carry
        b_x = self.param("input_bias", self._bias, (width,))
        b_h = self.param("hidden_bias", nn.initializers.zeros, (width,))
        x, w_x, w_h = promote_dtype(x, w_x, w_h, dtype=self.dtype)
        acc_dtype = acc_dtype_of(carry[0].dtype, w_h.dtype)
        carry = jax.tree.map(lambda h: h.astype(acc_dtype), carry)
        a = dense_product(x.swapaxes(0, 1), w_x).astype(acc_dtype) + b_x
        a = a if term is None else a + term.astype(acc_dtype)

        def over_time(before, inputs):
            a, counts = inputs
            u = (before[0].astype(w_h.dtype) @ w_h).astype(acc_dtype) + b_h
            carry = step(before, a, u)
            if w_p is not None:
                carry = ((carry[0].astype(w_h.dtype) @ w_p.astype(w_h.dtype)).astype(acc_dtype), *carry[1:])
            if counts is None:
                return carry, carry[0]
            carry = jax.tree.map(lambda new, old: jnp.where(counts, new, old), carry, before)
            return carry, jnp.where(counts, carry[0], 0)

        counts = None
        if lengths is not None:
            counts = (jnp.arange(x.shape[1])[:, None] < _checked(lengths, x))[..., None]
        carry, h = jax.lax.scan(over_time, carry, (a, counts), unroll=self.unroll)
        return carry, h.swapaxes(0, 1)

    def _bias(self, key, shape, dtype=jnp.float32) -> jax.Array:
        bias, forget = jnp.zeros(shape, dtype), self._kind.forget
        if forget is None:
            return bias
        return bias.at[forget * self.features : (forget + 1) * self.features].set(self.forget_bias)


def orthogonal_by_gate(gates: int) -> Any:
    """Make an initializer of a recurrent kernel `[H, gates H]` that is orthogonal gate by gate.

    Args:
      gates: gates of the cell.

    Returns:
      (key, shape, dtype) -> the kernel.
    """
    check_whole_number("gates", gates, 1)

    def init(key, shape, dtype=jnp.float32):
        if len(shape) != 2 or shape[1] % gates:
            raise ValueError(f"shape={shape}: no {gates} gates; allowed: [H, {gates} H]")
        square = (shape[0], shape[1] // gates)
        return jnp.concatenate([orthogonal()(k, square, dtype) for k in jax.random.split(key, gates)], 1)

    return init


class RecurrentStack(CheckedModule):
    """Recurrent layers on top of each other: (carries, x [B, T, D]) -> (carries, h [B, T, H]). Submodules `layer0`, ...

    At time t layer l sees its own state of t - 1 and the output of layer l - 1 at t. In a bidirectional stack each
    layer is a `BidirectionalRecurrent`, whose outputs of both ways the next one sees.

    Args:
      features: H, size of the state of each layer.
      num_layers: number of layers.
      cell: one of RECURRENT_CELLS.
      unroll: time steps in one iteration of each layer's loop; changes the speed alone.
      input_init: initializer of the first layer's input kernel; `normal(1)` suits one-hot vectors, whose length does
        not grow with their dimension.
      bidirectional: let each layer read both ways.
      learned_carry: as of `Recurrent`, in each layer.
    """

    features: Count
    num_layers: Count = 1
    cell: str = "lstm"
    unroll: Count = 1
    dtype: Any = None
    input_init: Any = nn.initializers.lecun_normal()
    bidirectional: bool = False
    learned_carry: bool = False

    @property
    def _layer(self) -> Any:
        return BidirectionalRecurrent if self.bidirectional else Recurrent

    def initial_carry(self, batch_size: int) -> tuple[Any, ...]:
        """Zero state of every layer before the first step.

        Args:
          batch_size: examples.

        Returns:
          One carry for each layer; in a bidirectional stack a pair of carries.
        """
        layer = self._layer(self.features, self.cell, parent=None)
        return tuple(layer.initial_carry(batch_size) for _ in range(self.num_layers))

    @nn.compact
    def __call__(
        self, carry: tuple[Any, ...] | None, x: jax.Array, lengths: jax.Array | None = None
    ) -> tuple[tuple[Any, ...], jax.Array]:
        """Run each layer over the whole sequence, one layer after the other.

        Args:
          carry: one carry for each layer, from `initial_carry` or, unless bidirectional, an earlier call; None: zeros,
            or what was learned.
          x: [B, T, D].
          lengths: [B] int, steps that count in each row; None: all T.

        Returns:
          (carries after the last step of each row, outputs [B, T, H] of the last layer, zero behind it); [B, T, 2 H]
          of a bidirectional stack.
        """
        states = []
        for i in range(self.num_layers):
            init = self.input_init if i == 0 else nn.initializers.lecun_normal()
            layer = self._layer(
                self.features,
                self.cell,
                unroll=self.unroll,
                dtype=self.dtype,
                input_init=init,
                learned_carry=self.learned_carry,
                name=f"layer{i}",
            )
            state, x = layer(None if carry is None else carry[i], x, lengths)
            states.append(state)
        return tuple(states), x


class BidirectionalRecurrent(CheckedModule):
    """Two recurrent layers, one from each end: (carries, x [B, T, D]) -> (carries, [B, T, 2 H]).

    Submodules `forward` and `backward`. The output at time t joins the forward layer's state, which has seen x up to t,
    and the backward layer's, which has seen x from t on.

    Args:
      features: H, size of the state of each layer.
      cell: one of RECURRENT_CELLS.
      proj_features: P, size of each projected output; None for no projection.
      unroll: time steps in one iteration of each layer's loop; changes the speed alone.
      input_init: initializer of the input kernels.
      learned_carry: as of `Recurrent`, in both layers.
    """

    features: Count
    cell: str = "lstm"
    proj_features: Count | None = None
    unroll: Count = 1
    dtype: Any = None
    input_init: Any = nn.initializers.lecun_normal()
    learned_carry: bool = False

    def initial_carry(self, batch_size: int) -> tuple[Carry, Carry]:
        """Zero states before the first step and after the last.

        Args:
          batch_size: examples.

        Returns:
          (carry of the forward layer, carry of the backward layer).
        """
        layer = Recurrent(self.features, self.cell, self.proj_features, parent=None)
        return layer.initial_carry(batch_size), layer.initial_carry(batch_size)

    @nn.compact
    def __call__(
        self, carry: tuple[Carry, Carry] | None, x: jax.Array, lengths: jax.Array | None = None
    ) -> tuple[tuple[Carry, Carry], jax.Array]:
        """Run over time both ways.

        Args:
          carry: states of the two layers, from `initial_carry`; None: zeros, or what was learned.
          x: [B, T, D].
          lengths: [B] int, steps that count in each row; None: all T.

        Returns:
          ((the forward layer's state after the last step of each row, the backward layer's after the first), outputs
          [B, T, 2 H], zero behind each row's last step).
        """
        forward, backward = (
            Recurrent(
                self.features,
                self.cell,
                self.proj_features,
                unroll=self.unroll,
                dtype=self.dtype,
                input_init=self.input_init,
                learned_carry=self.learned_carry,
                name=name,
            )
            for name in ("forward", "backward")
        )
        carry = (None, None) if carry is None else carry
        after, h = forward(carry[0], x, lengths)
        before, g = backward(carry[1], reverse_sequences(x, lengths), lengths)
        return (after, before), jnp.concatenate([h, reverse_sequences(g, lengths)], -1)
