"""Transformer-XL: a transformer that reads a text segment by segment, and remembers the states of those before.

    score(i, j) = ((q_i + u) k_j + (q_i + v) r_{i-j}) / sqrt(d),   j <= i, over the memory and the segment
    q = W_q h,   k, value = W_k, W_v [stop_gradient(memory), h],   r_n = W_r PE(n),   PE the sines of a distance
    memory' = the last M inputs of the layer

Dai et al. 2019, arXiv:1901.02860. Positions are distances, so a state means the same when a later segment looks back at
it; u and v are learned for each head and say what a key, and a distance, is worth to any query. No gradient goes back
into the memory. A layer reaches M positions beyond its segment, L layers L M, but what it takes to use more than the
first M must be learned without a gradient through time.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.activations import gelu
from dlcore.nn.attention import attention_weights
from dlcore.nn.dense import Dense
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import sinusoidal_encoding
from dlcore.nn.transformer import FeedForward
from dlcore.ops.precision import acc_dtype_of

__all__ = ["RelativeAttention", "SegmentMemory", "TransformerXL", "by_distance"]


@struct.dataclass
class SegmentMemory:
    """Hidden states of earlier segments, by layer.

    Args:
      states: [B, M, D] for each layer, its last inputs; () where it remembers nothing.
      length: [B] int32, how many of the M are from the text; those at the front are not there yet.
    """

    states: tuple[jax.Array, ...]
    length: jax.Array


def by_distance(scores: jax.Array) -> jax.Array:
    """Turn scores of distances into scores of keys; what lies in a query's future gets anything.

    Args:
      scores: [..., T, S]; entry (i, n) is of query i at a distance of S - 1 - n, S at least T.

    Returns:
      [..., T, S]; entry (i, j) is of query i, the last T of S positions, and key j, at a distance of S - T + i - j.
    """
    *lead, queries, keys = scores.shape
    padded = jnp.pad(scores, [(0, 0)] * (len(lead) + 1) + [(1, 0)])
    return padded.reshape(*lead, keys + 1, queries)[..., 1:, :].reshape(scores.shape)


class RelativeAttention(CheckedModule):
    """Causal attention of a segment to itself and to a memory, with distances for positions.

    Submodules `query`, `key`, `value`, `position` and `proj`; parameters `content_bias` (u) and `position_bias` (v).

    Args:
      num_heads: heads; divides the features.
      kernel_init: initializer of all kernels.
    """

    num_heads: Count
    dtype: Any = None
    kernel_init: Any = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array, visible: jax.Array | None = None) -> jax.Array:
        """Attend.

        Args:
          x: [B, T, D], the segment.
          context: [B, M + T, D], memory and segment.
          visible: bool [B, M + T], False for what is not there yet; None: all is.

        Returns:
          [B, T, D].
        """
        features, length, keys = x.shape[-1], x.shape[1], context.shape[1]
        if features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of the {features} features")
        size = features // self.num_heads

        def project(name: str, a: jax.Array, bias: bool = True) -> jax.Array:
            layer = Dense(features, use_bias=bias, dtype=self.dtype, kernel_init=self.kernel_init, name=name)
            return layer(a).reshape(*a.shape[:-1], self.num_heads, size)

        query, key, value = project("query", x), project("key", context), project("value", context)
        distances = sinusoidal_encoding(jnp.arange(keys - 1, -1, -1), features)
        position = project("position", distances, bias=False)
        u, v = (
            self.param(name, self.kernel_init, (self.num_heads, size)) for name in ("content_bias", "position_bias")
        )
        scores = jnp.einsum(
            "bthd,nhd->bhtn", query + v.astype(query.dtype), position, preferred_element_type=jnp.float32
        )
        ahead = keys - length + jnp.arange(length)[:, None] < jnp.arange(keys)
        mask = ~ahead if visible is None else ~ahead & visible[:, None, None]
        weights = attention_weights(
            query + u.astype(query.dtype), key, mask=mask, bias=by_distance(scores) * size**-0.5
        )
        self.sow("intermediates", "weights", weights)
        y = jnp.einsum("bhts,bshd->bthd", weights.astype(value.dtype), value)
        return Dense(features, dtype=self.dtype, kernel_init=self.kernel_init, name="proj")(
            y.reshape(*x.shape[:-1], features)
        )


class TransformerXL(CheckedModule):
    """A language model with a memory: (memory, tokens [B, T]) -> (memory, logits [B, T, V] of the token after each).

    Args:
      vocab_size: V, different tokens.
      num_layers: blocks, each normalized before its branches.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      memory: M, states that each block remembers; 0 for none.
      dropout: probability to drop a value of the embedding or of a branch, where `apply` gets a key named "dropout".
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: Count
    num_layers: Annotated[int, Range(1)] = 4
    num_heads: Annotated[int, Range(1)] = 4
    width: Annotated[int, Range(2)] = 128
    memory: Annotated[int, Range(0)] = 64
    dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    @nn.nowrap
    def start(self, batch_size: int) -> SegmentMemory:
        """Make the empty memory before the first segment.

        Args:
          batch_size: B, texts.

        Returns:
          The memory before the first segment.
        """
        blank = jnp.zeros((batch_size, self.memory, self.width), self.dtype or jnp.float32)
        return SegmentMemory((blank,) * self.num_layers if self.memory else (), jnp.zeros(batch_size, jnp.int32))

    @nn.compact
    def __call__(self, memory: SegmentMemory, tokens: jax.Array) -> tuple[SegmentMemory, jax.Array]:
        """Read a segment.

        Args:
          memory: after the segments before.
          tokens: [B, T] int.

        Returns:
          (memory after it, logits [B, T, V], at least float32); the first loss is log V.
        """
        init, length = nn.initializers.normal(0.02), tokens.shape[1]
        x = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype, name="embed")(
            tokens.astype(jnp.int32)
        )
        drop = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))
        x = drop(x)
        is_filled = jnp.arange(self.memory) >= self.memory - memory.length[:, None]
        visible = jnp.concatenate([is_filled, jnp.ones(tokens.shape, bool)], 1)
        states = []
        for i in range(self.num_layers):
            before = [jax.lax.stop_gradient(memory.states[i]).astype(x.dtype)] if self.memory else []
            context = jnp.concatenate([*before, x], 1)
            if self.memory:
                states.append(jax.lax.stop_gradient(context[:, -self.memory :]))
            norm = LayerNorm(dtype=self.dtype, name=f"norm1_{i}")
            context = norm(context)
            attention = RelativeAttention(self.num_heads, self.dtype, init, name=f"attn_{i}")
            x = x + drop(attention(context[:, -length:], context, visible))
            mlp = FeedForward(4 * self.width, gelu, dtype=self.dtype, kernel_init=init, name=f"mlp_{i}")
            x = x + drop(mlp(LayerNorm(dtype=self.dtype, name=f"norm2_{i}")(x)))
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        logits = Dense(self.vocab_size, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="head")(x)
        after = SegmentMemory(tuple(states), jnp.minimum(memory.length + length, self.memory))
        return after, logits.astype(acc_dtype_of(x.dtype))
