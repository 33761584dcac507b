"""Recurrent convolutional layers: an RNN, LSTM or GRU whose products are convolutions.

Shi et al. 2015, arXiv:1506.04214 (LSTM, here without peepholes); Ballas et al. 2015, arXiv:1511.06432 (GRU).

    a = W_x * x_t + b_x,  u = W_h * h_{t-1} + b_h        * is a convolution; the cells are `dlcore.nn.recurrent_cells`'

The state is a feature map, [B, H, W, features]; on an image of one pixel this is the plain recurrent layer.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.choices import check_choice
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.recurrent_cells import RECURRENT_CELLS, Carry
from dlcore.ops.convolution import conv_general_dilated
from dlcore.ops.im2col import pair_of

__all__ = ["ConvRecurrent"]

_CELLS = {name: cell for name, cell in RECURRENT_CELLS.items() if not cell.peepholes}

_NHWC = ("NHWC", "HWIO", "NHWC")


class ConvRecurrent(CheckedModule):
    """One recurrent convolutional layer over time: (carry, x [B, T, H, W, C]) -> (carry, h [B, T, H, W, features]).

    Parameters `input_kernel: [kh, kw, C, gates features]`, `hidden_kernel: [kh, kw, features, gates features]` and a
    bias of each.

    Args:
      features: channels of the state.
      kernel_size: (rows, columns) of both convolutions, which are padded to keep the size.
      cell: one of RECURRENT_CELLS without peepholes.
      forget_bias: initial bias of the LSTM's forget gate.
      unroll: time steps in one iteration of the loop; changes the speed alone.
      dtype: dtype of the convolutions; None means by promotion.
    """

    features: Count
    kernel_size: int | Sequence[int] = (3, 3)
    cell: str = "rnn"
    forget_bias: float = 1.0
    unroll: Count = 1
    dtype: Any = None

    def initial_carry(self, batch_size: int, size: Sequence[int]) -> Carry:
        """Zero state before the first step.

        Args:
          batch_size: examples.
          size: (H, W) of the state.

        Returns:
          One [B, H, W, features] of zeros for each state of the cell.
        """
        self._check()
        shape = (batch_size, *size, self.features)
        return tuple(jnp.zeros(shape, jnp.float32) for _ in range(_CELLS[self.cell].states))

    def _check(self) -> None:
        check_choice("cell", self.cell, _CELLS)
        pair_of("kernel_size", self.kernel_size)

    @nn.compact
    def __call__(self, carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        """Run over time; the carry keeps its own dtype, float32 at least.

        Args:
          carry: state before the first step, from `initial_carry` or an earlier call.
          x: [B, T, H, W, C].

        Returns:
          (state after the last step, outputs [B, T, H, W, features]).
        """
        self._check()
        if x.ndim != 5:
            raise ValueError(f"x.shape={x.shape}: not a batch of clips; allowed: [B, T, H, W, C]")
        step, gates, *_ = _CELLS[self.cell]
        width = gates * self.features
        init = nn.initializers.lecun_normal()
        size = pair_of("kernel_size", self.kernel_size)
        w_x = self.param("input_kernel", init, (*size, x.shape[-1], width))
        w_h = self.param("hidden_kernel", init, (*size, self.features, width))
        b_x = self.param("input_bias", self._bias, (width,))
        b_h = self.param("hidden_bias", nn.initializers.zeros, (width,))
        x, w_x, w_h = promote_dtype(x, w_x, w_h, dtype=self.dtype)
        acc_dtype = jnp.promote_types(carry[0].dtype, w_h.dtype)
        carry = jax.tree.map(lambda h: h.astype(acc_dtype), carry)

        def conv(x, w):
            return conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=_NHWC)

        a = conv(x.reshape(-1, *x.shape[2:]), w_x).reshape(*x.shape[:4], width).astype(acc_dtype) + b_x

        def scan_step(carry, a):
            u = conv(carry[0].astype(w_h.dtype), w_h).astype(acc_dtype) + b_h
            carry = step(carry, a, u)
            return carry, carry[0]

        carry, h = jax.lax.scan(scan_step, carry, a.swapaxes(0, 1), unroll=self.unroll)
        return carry, h.swapaxes(0, 1)

    def _bias(self, key, shape, dtype=jnp.float32) -> jax.Array:
        bias, forget = jnp.zeros(shape, dtype), _CELLS[self.cell].forget
        if forget is None:
            return bias
        return bias.at[forget * self.features : (forget + 1) * self.features].set(self.forget_bias)
