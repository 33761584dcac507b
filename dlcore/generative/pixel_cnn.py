"""The gated PixelCNN: masked convolutions predict each pixel from those above it and left of it, all pixels at once.

van den Oord et al. 2016b, arXiv:1606.05328; the masks and the order of colors are van den Oord et al. 2016a,
arXiv:1601.06759.

    vertical    v' = gate(conv(v))                          sees all rows above; its first layer not the pixel's own
    horizontal  h' = h + W gate(conv(h) + U conv(v))        sees the pixels left of it in its row, and v
    gate(a, b)  = tanh(a) sigmoid(b),   a and b also get a bias of the class, or W m of a map m at the same position

A single stack of masked convolutions does not see a wedge of pixels above and to the right, the blind spot. Two stacks
see every pixel before. The colors of a pixel come one after the other, red, green, blue: the channels of the horizontal
stack are in as many blocks, and no block reads a later one (`nn.MaskedConv`).

A row of the vertical stack needs a few rows of the layer below it, a pixel of the horizontal one a few pixels to its
left. So a sample of N pixels costs about one pass, where re-running the network costs N: `row` and `step` keep what
later ones need. Codes of a VQ-VAE have no order of intensity: `embedding_dim` learns a vector for each.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.levels import check_blocks, encode, num_outputs, to_logits
from dlcore.learner import Range
from dlcore.nn import Conv, Embed, MaskedConv
from dlcore.nn.masked_conv import causal_kernel_mask

__all__ = ["PixelCNN"]


def _gate(x: jax.Array, colors: int) -> jax.Array:
    """[..., 2 F] -> [..., F], within each color's block."""
    x = x.reshape(*x.shape[:-1], colors, 2, -1)
    return (jnp.tanh(x[..., 0, :]) * nn.sigmoid(x[..., 1, :])).reshape(*x.shape[:-3], -1)


class _Layer(nn.Module):
    """One layer of both stacks. Its inputs are padded already: above by rows of zeros, left by columns of zeros."""

    channels: int
    features: int
    kernel_size: int
    colors: int
    num_classes: int
    first: bool
    dropout: float
    dtype: Any

    def setup(self):
        half, gate_features, side = self.kernel_size // 2, 2 * self.features, self.kernel_size
        rows, kind = (half, "A") if self.first else (half + 1, "B")
        mask = causal_kernel_mask((1, side), self.channels, gate_features, kind, self.colors)[:, : half + 1]
        self.vertical = Conv(gate_features, (rows, side), padding=((0, 0), (half, half)), dtype=self.dtype)
        self.across = Conv(gate_features, (1, 1), dtype=self.dtype)
        self.horizontal = Conv(
            gate_features, (1, half + 1), padding="VALID", mask=jnp.asarray(mask, jnp.float32), dtype=self.dtype
        )
        self.out = MaskedConv(self.features, (1, 1), "B", self.colors, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        if self.num_classes:
            self.label = Embed(self.num_classes, 2 * gate_features, dtype=self.dtype)
        self.map = Conv(2 * gate_features, (1, 1), dtype=self.dtype)

    def biases(self, label: jax.Array | None) -> list:
        """Of the class [B, 1, 1, 2 F] or the map [B, R, N, 2 F], for the vertical and the horizontal stack."""
        if label is None:
            return [0.0, 0.0]
        return jnp.split(self.map(label) if label.ndim == 4 else self.label(label)[:, None, None], 2, -1)

    def down(self, window: jax.Array, label: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Rows [B, R + above, W, channels] -> (v [B, R, W, F], what the horizontal stack adds [B, R, W, 2 F])."""
        x = self.vertical(window)
        return _gate(x + self.biases(label)[0], self.colors), self.across(x)

    def right(self, window: jax.Array, across: jax.Array, label: jax.Array | None, train: bool = False) -> jax.Array:
        """Columns [B, R, N + left, channels] -> h [B, R, N, F]."""
        h = self.drop(_gate(self.horizontal(window) + across + self.biases(label)[1], self.colors), not train)
        return self.out(h) if self.first else self.out(h) + window[:, :, self.kernel_size // 2 :]


class PixelCNN(nn.Module):
    """The gated PixelCNN: images [B, H, W, C] -> logits [B, H, W, C, levels].

    Args:
      levels: values of a dimension.
      colors: C, of a pixel; divides `features`.
      num_classes: classes whose label the network is given; 0 gives it none.
      features: channels of each stack.
      num_layers: after the first.
      first_kernel: side of the first layer's kernels, odd.
      kernel_size: side of the others', odd.
      head_features: channels between the last layer and the logits.
      embedding_dim: size of a vector that is learned for each level; 0 gives the network a level as a number.
      dropout: share of the channels that training drops in each layer of the horizontal stack.
      dtype: dtype of the convolutions; None takes the input's.
    """

    levels: int
    colors: int
    num_classes: int = 0
    features: Annotated[int, Range(1)] = 32
    num_layers: Annotated[int, Range(0)] = 6
    first_kernel: Annotated[int, Range(3)] = 7
    kernel_size: Annotated[int, Range(3)] = 3
    head_features: Annotated[int, Range(1)] = 64
    embedding_dim: Annotated[int, Range(0)] = 0
    dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    def setup(self) -> None:
        """Make the layers."""
        check_blocks(self, ("first_kernel", "kernel_size"))
        rest = (self.colors, self.num_classes)
        inputs = self.colors * max(1, self.embedding_dim)
        first = _Layer(inputs, self.features, self.first_kernel, *rest, True, self.dropout, self.dtype)
        later_layers = [
            _Layer(self.features, self.features, self.kernel_size, *rest, False, self.dropout, self.dtype)
            for _ in range(self.num_layers)
        ]
        self.layers = [first, *later_layers]
        if self.embedding_dim:
            self.embedding = Embed(self.colors * self.levels, self.embedding_dim, dtype=self.dtype)
        options = {"colors": self.colors, "dtype": self.dtype}
        self.head = MaskedConv(self.head_features, (1, 1), **options)
        zeros = nn.initializers.zeros
        self.logits = MaskedConv(self.colors * num_outputs(self.levels), (1, 1), kernel_init=zeros, **options)

    def _inputs(self, x: jax.Array) -> jax.Array:
        """Levels [B, R, W, C] -> [B, R, W, C E]."""
        if not self.embedding_dim:
            return encode(x, self.levels)
        return self.embedding(x + self.levels * jnp.arange(self.colors)).reshape(*x.shape[:3], -1)

    def _outputs(self, h: jax.Array) -> jax.Array:
        """h [B, R, N, F] -> logits [B, R, N, C, levels]."""
        h = self.logits(nn.relu(self.head(nn.relu(h))))
        return to_logits(h.reshape(*h.shape[:3], self.colors, -1), self.levels)

    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Predict each dimension from those before it.

        x [B, H, W, C] in [0, levels) (int where levels are embedded); label [B] int, where there are classes (or a map
        [B, H, W, M] that says something of each position, such as a coarser level of codes); train, drop channels ->
        logits [B, H, W, C, levels] float32.
        """
        height = x.shape[1]
        # Vertical stack (rows above) and horizontal stack (pixels on the left).
        v = h = self._inputs(x)
        for layer in self.layers:
            half = layer.kernel_size // 2
            v, across = layer.down(_pad(v, half, 1)[:, : height + half - layer.first], label)
            h = layer.right(_pad(h, half, 2), across, label, train)
        return self._outputs(h)

    def reach(self) -> int:
        """Count the pixels that all kernels together see.

        Returns:
          Rows above a pixel, which are as many as the columns to each of its sides.
        """
        return self.first_kernel // 2 + self.num_layers * (self.kernel_size // 2)

    def start(self, shape: Sequence[int], label: jax.Array | None) -> dict[str, list]:
        """Begin a sample: what is above and left of an image is zero.

        shape (B, H, W, C); label [B] int, a map [B, H, W, M], or None -> the rows above, and those of the row that
        `row` and `step` fill, of each layer.
        """
        batch, _, width, _ = shape
        dtype = self.dtype or jnp.float32

        def zeros(*sizes):
            return jnp.zeros((batch, *sizes), dtype)

        halves = [layer.kernel_size // 2 for layer in self.layers[1:]]
        return {
            "above": [zeros(half, width, self.features) for half in halves],
            "across": [zeros(1, width, 2 * self.features) for _ in self.layers],
            "left": [zeros(1, half + width, self.features) for half in halves],
        }

    def row(self, cache: dict, x: jax.Array, y: jax.Array, label: jax.Array | None) -> dict[str, list]:
        """Compute the vertical stack of one row, from the rows above it.

        cache of `start`, or the row before; x [B, H, W, C], of which only the rows above y are read; y [] int, the row;
        label [B] int, a map [B, H, W, M], or None -> the cache for the row's steps.
        """
        half, label = self.first_kernel // 2, _part_of_map(label, y, 1)
        rows = y - half + jnp.arange(half)
        window = jnp.where(rows[None, :, None, None] >= 0, self._inputs(jnp.take(x, rows, 1, mode="clip")), 0)
        first, *later_layers = self.layers
        v, to_right = first.down(window, label)
        above, across = [], [to_right]
        for layer, before in zip(later_layers, cache["above"], strict=True):
            window = jnp.concatenate([before, v], 1)
            above.append(window[:, 1:])
            v, to_right = layer.down(window, label)
            across.append(to_right)
        return cache | {"above": above, "across": across}

    def step(self, cache: dict, x: jax.Array, place: tuple, label: jax.Array | None) -> tuple[dict, jax.Array]:
        """Predict one dimension: the horizontal stack of one pixel.

        cache of `row`, or the step before; x [B, H, W, C], of which only what comes before `place` is read; place (row,
        column, color), in raster order; label [B] int, a map [B, H, W, M], or None -> (cache, logits [B, levels]).
        """
        y, column, color = place
        label = _part_of_map(_part_of_map(label, y, 1), column, 2)

        def part(rows, start, size):
            return jax.lax.dynamic_slice_in_dim(rows, start, size, 2)

        half, (first, *later_layers) = self.first_kernel // 2, self.layers
        to_right, *across = (part(rows, column, 1) for rows in cache["across"])
        window = part(_pad(self._inputs(jax.lax.dynamic_slice_in_dim(x, y, 1, 1)), half, 2), column, half + 1)
        h, left = first.right(window, to_right, label), []
        for layer, rows, to_right in zip(later_layers, cache["left"], across, strict=True):
            half = layer.kernel_size // 2
            left.append(jax.lax.dynamic_update_slice_in_dim(rows, h, half + column, 2))
            h = layer.right(part(left[-1], column, half + 1), to_right, label)
        return cache | {"left": left}, self._outputs(h)[:, 0, 0, color]


def _part_of_map(label: jax.Array | None, index: jax.Array, axis: int) -> jax.Array | None:
    """One row or column of a map; a class and None as they are."""
    return label if label is None or label.ndim < 4 else jax.lax.dynamic_slice_in_dim(label, index, 1, axis)


def _pad(x: jax.Array, count: int, axis: int) -> jax.Array:
    """Zeros before the first row or column."""
    return jnp.pad(x, [(count if a == axis else 0, 0) for a in range(x.ndim)])
