"""The PixelRNN with diagonal bidirectional LSTMs: a pixel is predicted from the states of its neighbors before it.

van den Oord, Kalchbrenner & Kavukcuoglu 2016, arXiv:1601.06759, section 3.2.

    h, c at (y, x) = LSTM(K_i x, K_l h(y, x - 1) + K_a h(y - 1, x), c(y, x - 1))       from the left, row by row
    the same on the mirrored image, from the right, whose states move down by one row before both are added

A state knows all pixels above and to its left, or right: together a layer sees every pixel before. The pixels of a
diagonal do not depend on each other, so that a pass over H x W pixels is a loop over H + W - 1 diagonals. A masked
convolution comes first, each layer has a shortcut, and colors are blocks of channels, as in the PixelCNN.

The states from the right read the pixel itself too, which the paper's do not: they are used a row further down, and
without it nothing would know the last pixel of the row above.

Sampling keeps the states of the row above and of the pixel to the left; those from the right are computed once a row is
complete.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.levels import check_blocks, encode, num_outputs, to_logits
from dlcore.learner import Range
from dlcore.nn import Conv, Dense, Embed, MaskedConv
from dlcore.nn.masked_conv import causal_kernel_mask
from dlcore.nn.recurrent_cells import lstm_cell

__all__ = ["PixelRNN"]

States = tuple[jax.Array, jax.Array]


class _Direction(nn.Module):
    """The LSTM that comes from the left, along the diagonals of a feature map [B, H, W, F]."""

    features: int
    colors: int
    dtype: Any

    def setup(self):
        gates = 4 * self.features
        self.inputs = MaskedConv(gates, (1, 1), "B", self.colors, dtype=self.dtype)
        self.left = Dense(gates, use_bias=False, dtype=self.dtype)
        self.above = Dense(gates, use_bias=False, dtype=self.dtype)

    def cell(self, a: jax.Array, left: States, above: jax.Array) -> States:
        """One step of pixels [..., 4 F], whose gates are within each color's block."""

        def blocks(x):
            return x.reshape(*x.shape[:-1], self.colors, -1)

        h, c = left
        u = self.left(h) + self.above(above)
        h, c = lstm_cell((blocks(h), blocks(c)), blocks(a), blocks(u))
        return h.reshape(above.shape), c.reshape(above.shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        """States h [B, H, W, F], all diagonals."""
        b, height, width, _ = x.shape
        a, rows = self.inputs(x), jnp.arange(height)
        # Skew the rows, so that a diagonal becomes a column and all its pixels run at once.
        columns = jnp.arange(height + width - 1) - rows[:, None]
        is_pixel = (columns >= 0) & (columns < width)
        skewed = jnp.take_along_axis(a, columns.clip(0, width - 1)[None, ..., None], 2)

        def diagonal(module, states, inputs):
            a, is_pixel = inputs
            # State-to-state convolution: the left neighbor and the one above it.
            above = jnp.pad(states[0], ((0, 0), (1, 0), (0, 0)))[:, :-1]
            states = module.cell(a, states, above)
            states = tuple(jnp.where(is_pixel[:, None], s, 0) for s in states)
            return states, states[0]

        zeros = jnp.zeros((b, height, self.features), a.dtype)
        scan = nn.scan(diagonal, variable_broadcast="params", split_rngs={"params": False}, out_axes=2, in_axes=0)
        _, h = scan(self, (zeros, zeros), (jnp.moveaxis(skewed, 2, 0), is_pixel.T))
        # Undo the skew.
        return jnp.take_along_axis(h, (rows[:, None] + jnp.arange(width))[None, ..., None], 2)

    def reversed_row(self, x: jax.Array, above: jax.Array) -> jax.Array:
        """States [B, W, F] of one row, from the right, given those of the row above."""

        def pixel(module, left, inputs):
            left = module.cell(inputs[0], left, inputs[1])
            return left, left[0]

        zeros = jnp.zeros_like(above[:, 0])
        scan = nn.scan(
            pixel, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1, reverse=True
        )
        return scan(self, (zeros, zeros), (self.inputs(x[:, None])[:, 0], above))[1]


class _Layer(nn.Module):
    """Both directions, with a shortcut around them: [B, H, W, F] -> [B, H, W, F]."""

    features: int
    colors: int
    dtype: Any

    def setup(self):
        self.from_left = _Direction(self.features, self.colors, self.dtype)
        self.from_right = _Direction(self.features, self.colors, self.dtype)
        self.out = MaskedConv(self.features, (1, 1), "B", self.colors, dtype=self.dtype)

    def __call__(self, x: jax.Array, own: jax.Array) -> jax.Array:
        """All pixels; `own` [B, H, W, F] may know the pixel itself."""
        right = self.from_right((x + own)[:, :, ::-1])[:, :, ::-1]
        # Shift down by a row: the right half must not see the pixel's own row.
        right = jnp.pad(right, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
        return x + self.out(self.from_left(x) + right)

    def pixel(self, x: jax.Array, left: States, above: jax.Array, right: jax.Array) -> tuple[jax.Array, States]:
        """(output, states from the left) of a pixel [B, F]."""
        states = self.from_left.cell(self.from_left.inputs(x[:, None, None])[:, 0, 0], left, above)
        return x + self.out((states[0] + right)[:, None, None])[:, 0, 0], states


class PixelRNN(nn.Module):
    """The PixelRNN: images [B, H, W, C] -> logits [B, H, W, C, levels].

    Args:
      levels: values of a dimension.
      colors: C, of a pixel; divides `features` and `head_features`.
      num_classes: classes whose label the network is given; 0 gives it none.
      features: channels of the states of each direction.
      num_layers: number of LSTM layers.
      first_kernel: side of the convolution before them, odd.
      head_features: channels between the last layer and the logits.
      dtype: dtype of the matrix products; None takes the input's.
    """

    levels: int
    colors: int
    num_classes: int = 0
    features: Annotated[int, Range(1)] = 16
    num_layers: Annotated[int, Range(1)] = 3
    first_kernel: Annotated[int, Range(3)] = 7
    head_features: Annotated[int, Range(1)] = 32
    dtype: Any = None

    def setup(self) -> None:
        """Make the layers."""
        check_blocks(self, ("first_kernel",))
        half, side = self.first_kernel // 2, self.first_kernel
        mask = causal_kernel_mask((side, side), self.colors, self.features, "A", self.colors)[: half + 1]
        self.stem = Conv(
            self.features, (half + 1, side), padding="VALID", mask=jnp.asarray(mask, jnp.float32), dtype=self.dtype
        )
        self.own = Dense(self.features, dtype=self.dtype)
        if self.num_classes:
            self.label = Embed(self.num_classes, self.features, dtype=self.dtype)
        self.layers = [_Layer(self.features, self.colors, self.dtype) for _ in range(self.num_layers)]
        options = {"colors": self.colors, "dtype": self.dtype}
        self.head = MaskedConv(self.head_features, (1, 1), **options)
        zeros = nn.initializers.zeros
        self.logits = MaskedConv(self.colors * num_outputs(self.levels), (1, 1), kernel_init=zeros, **options)

    def _stem(self, window: jax.Array, label: jax.Array | None) -> jax.Array:
        """Rows padded above, left and right -> feature map."""
        h = self.stem(window)
        return h if label is None else h + self.label(label)[:, None, None]

    def _outputs(self, h: jax.Array) -> jax.Array:
        h = self.logits(nn.relu(self.head(nn.relu(h))))
        return to_logits(h.reshape(*h.shape[:3], self.colors, -1), self.levels)

    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Predict each dimension from those before it.

        x [B, H, W, C] in [0, levels); label [B] int, where there are classes -> logits [B, H, W, C, levels] float32.
        """
        half = self.first_kernel // 2
        padded = jnp.pad(encode(x, self.levels), ((0, 0), (half, 0), (half, half), (0, 0)))
        h, row_input = self._stem(padded, label), self.own(encode(x, self.levels))
        for layer in self.layers:
            h = layer(h, row_input)
        return self._outputs(h)

    def start(self, shape: Sequence[int], label: jax.Array | None) -> list[dict]:
        """Begin a sample: all states are zero.

        shape (B, H, W, C); label [B] int, or None -> for each layer what it read in this row and the states of this row
        and the one above.
        """
        batch, _, width, _ = shape
        row = jnp.zeros((batch, width, self.features), self.dtype or jnp.float32)
        longer = jnp.pad(row, ((0, 0), (1, 0), (0, 0)))
        return [{"x": row, "h": longer, "c": longer, "above": row, "right": row} for _ in self.layers]

    def row(self, cache: list, x: jax.Array, y: jax.Array, label: jax.Array | None) -> list[dict]:
        """Complete the row above: its states from the right.

        Args:
          cache: cache from `start`, or the row before.
          x: [B, H, W, C], of which only the row above y is read.
          y: [] int, the row that begins.
          label: not read.

        Returns:
          The cache for the row's steps.
        """
        row_input = self.own(encode(jnp.take(x, y - 1, 1, mode="clip"), self.levels))
        after = []
        for layer, c in zip(self.layers, cache, strict=True):
            right = jnp.where(y > 0, layer.from_right.reversed_row(c["x"] + row_input, c["right"]), 0)
            after.append(c | {"above": c["h"][:, 1:], "right": right})
        return after

    def step(self, cache: list, x: jax.Array, place: tuple, label: jax.Array | None) -> tuple[list, jax.Array]:
        """Predict one dimension: the states of one pixel.

        cache of `row`, or the step before; x [B, H, W, C], of which only what comes before `place` is read; place (row,
        column, color), in raster order; label [B] int, or None -> (cache, logits [B, levels]).
        """
        y, column, color = place
        half = self.first_kernel // 2
        padded = jnp.pad(encode(x, self.levels), ((0, 0), (half, 0), (half, half), (0, 0)))
        sizes = (x.shape[0], half + 1, self.first_kernel, self.colors)
        h = self._stem(jax.lax.dynamic_slice(padded, (0, y, column, 0), sizes), label)[:, 0, 0]
        after = []
        for layer, c in zip(self.layers, cache, strict=True):
            left = c["h"][:, column], c["c"][:, column]
            out, (state, cell) = layer.pixel(h, left, c["above"][:, column], c["right"][:, column])
            filled = {"x": c["x"].at[:, column].set(h), "h": c["h"].at[:, column + 1].set(state)}
            after.append(c | filled | {"c": c["c"].at[:, column + 1].set(cell)})
            h = out
        return after, self._outputs(h[:, None, None])[:, 0, 0, color]
