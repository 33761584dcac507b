"""Parts of vision-language networks: a grid of features, a sentence encoder, pairs of positions."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.data.words import PAD
from dlcore.nn import Conv, Embed
from dlcore.nn.group_norm import GroupNorm
from dlcore.nn.recurrent import RecurrentStack
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype

__all__ = ["GridEncoder", "PairLayer", "SentenceEncoder", "append_coordinates", "last_valid", "relation_pairs"]


class GridEncoder(nn.Module):
    """A small convolutional network that keeps the grid: [B, H, W, 3] -> [B, h, w, C].

    Each layer is a 3x3 convolution, group norm (8 groups) and a rectifier.

    Args:
      channels: number of channels of each layer, multiples of 8.
      strides: strides of each layer.
      dtype: dtype of the computation; None takes the parameters'.
    """

    channels: tuple[int, ...] = (32, 64, 64, 64)
    strides: tuple[int, ...] = (2, 2, 1, 2)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Encode images.

        Args:
          x: [B, H, W, 3], normalized.

        Returns:
          [B, h, w, C].
        """
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"strides={self.strides}: {len(self.strides)} layers; allowed: {len(self.channels)}, as in channels"
            )
        for i, (channels, stride) in enumerate(zip(self.channels, self.strides, strict=True)):
            x = Conv(channels, (3, 3), stride, use_bias=False, dtype=self.dtype, name=f"conv{i}")(x)
            x = nn.relu(GroupNorm(8, dtype=self.dtype, name=f"norm{i}")(x))
        return x


class SentenceEncoder(nn.Module):
    """Read a sentence with a GRU and keep its last state: tokens [B, T] -> [B, H].

    Args:
      vocab_size: different tokens.
      features: H.
      embedding_dim: width of a token.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int
    features: int = 64
    embedding_dim: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Encode sentences.

        Args:
          tokens: [B, T] int32, padded with PAD at the end.

        Returns:
          [B, H], the state after the last token that is not PAD.
        """
        init = nn.initializers.normal(1.0)  # a word must change the GRU's state from the start
        x = Embed(self.vocab_size, self.embedding_dim, embedding_init=init, dtype=self.dtype, name="embed")(tokens)
        gru = RecurrentStack(self.features, 1, "gru", dtype=self.dtype, name="gru")
        _, h = gru(gru.initial_carry(tokens.shape[0]), x)
        return last_valid(h, tokens)


def last_valid(h: jax.Array, tokens: jax.Array) -> jax.Array:
    """Take the state at each row's last token.

    Args:
      h: [B, T, H].
      tokens: [B, T], padded with PAD at the end.

    Returns:
      [B, H]; the first state of a row of PAD alone.
    """
    check_shapes(h=(h, "B T H"), tokens=(tokens, "int B T"))
    last = jnp.maximum((tokens != PAD).sum(1) - 1, 0)
    return jnp.take_along_axis(h, last[:, None, None], axis=1)[:, 0]


def append_coordinates(grid: jax.Array) -> jax.Array:
    """Append the coordinates of each position to a grid of features.

    Args:
      grid: [B, h, w, C].

    Returns:
      [B, h w, C + 2]; the last two are y and x in [-1, 1].
    """
    check_shapes(grid=(grid, "B h w C"))
    b, h, w, _ = grid.shape
    y, x = jnp.meshgrid(jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w), indexing="ij")
    where = jnp.broadcast_to(jnp.stack([y, x], -1).astype(result_dtype(grid)), (b, h, w, 2))
    return jnp.concatenate([grid, where], -1).reshape(b, h * w, -1)


def relation_pairs(objects: jax.Array) -> jax.Array:
    """Build all ordered pairs of objects.

    Args:
      objects: [B, N, C].

    Returns:
      [B, N, N, 2 C]; entry [i, j] is object i before object j.
    """
    check_shapes(objects=(objects, "B N C"))
    b, n, c = objects.shape
    first = jnp.broadcast_to(objects[:, :, None], (b, n, n, c))
    return jnp.concatenate([first, first.swapaxes(1, 2)], -1)


class PairLayer(nn.Module):
    """A dense layer over pairs of objects and a context, without building the pairs.

    It equals `Dense` of `relation_pairs(objects)` with the context behind: W [a, b, c] = W_1 a + W_2 b + W_3 c, whose
    parts are computed once an object instead of once a pair.

    Args:
      features: number of features of the result.
      dtype: dtype of the computation; None takes the parameters'.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, objects: jax.Array, context: jax.Array) -> jax.Array:
        """Apply the layer.

        Args:
          objects: [B, N, C].
          context: [B, D].

        Returns:
          [B, N, N, features].
        """
        size = objects.shape[-1]
        inputs = 2 * size + context.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        objects, context, kernel, bias = nn.dtypes.promote_dtype(objects, context, kernel, bias, dtype=self.dtype)
        first, second, about = jnp.split(kernel, (size, 2 * size))
        whole = (context @ about + bias)[:, None, None]
        return (objects @ first)[:, :, None] + (objects @ second)[:, None] + whole
