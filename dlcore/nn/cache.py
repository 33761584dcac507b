"""The cache of a decoder: keys and values of earlier tokens, so that a new token costs one row of attention.

    prefill   a prompt of T tokens is read in one call, which stores T keys and values per layer
    step      a token's query attends to its own key and to all stored ones: O(L) and not O(L^2) for a token

Arrays have a static length L, so nothing compiles again while a sequence grows. Rows have their own lengths: prompts of
several lengths are padded at the end and read together, and `rewind` then sets each row's true length; a padded key is
invisible until the next token of its row overwrites it. A cache is an argument and a result of a call, not module
state, so training does not know of it. It stores heads before tokens, the order in which attention multiplies: else
each step would copy the whole cache. Shazeer 2019, arXiv:1911.02150 (what incremental decoding costs).
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import struct
from jax.export import is_symbolic_dim

from dlcore.choices import is_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["Cache", "Memory"]


@struct.dataclass
class Cache:
    """Keys and values of one layer's self-attention. All leaves lead with the batch: beams reorder them by `take`.

    Args:
      key: [B, H, L, D], of which the first `length` of each row are set.
      value: [B, H, L, D].
      length: [B] int32, tokens read so far.
    """

    key: jax.Array
    value: jax.Array
    length: jax.Array

    @classmethod
    def zeros(cls, batch_size: int, length: int, num_heads: int, features: int, dtype: Any = jnp.float32) -> Self:
        """Make an empty cache.

        Args:
          batch_size: B.
          length: L, the most tokens that it holds, prompt included.
          num_heads: H, heads of keys and values.
          features: D, features of a head.
          dtype: dtype of keys and values.

        Returns:
          The cache.
        """
        sizes = length, num_heads, features, 1 if is_symbolic_dim(batch_size) else batch_size  # exports leave B open
        if not all(is_whole_number(size) and size >= 1 for size in sizes):
            raise ValueError(f"{batch_size=}, {length=}, {num_heads=}, {features=}: empty; allowed: from 1")
        key, value = (jnp.zeros((batch_size, num_heads, length, features), dtype) for _ in range(2))
        return cls(key, value, jnp.zeros(batch_size, jnp.int32))

    @property
    def capacity(self) -> int:
        """L, the most tokens that it holds."""
        return self.key.shape[2]

    def append(self, key: jax.Array, value: jax.Array) -> Self:
        """Store the keys and values of the next T tokens of every row.

        Args:
          key: [B, T, H, D].
          value: [B, T, H, D].

        Returns:
          The longer cache. A row that would not fit gets values of NaN, so that what follows is not silently wrong.
        """
        new, capacity = key.shape[1], self.capacity
        if new > capacity:
            raise ValueError(f"key.shape={key.shape}: {new} tokens; allowed: at most the cache's length of {capacity}")
        check_shapes(key=(key, "B T H D"), value=(value, "B T H D"), length=(self.length, "B"))
        fits = (self.length + new <= capacity)[:, None, None, None]
        value = jnp.where(fits, value, jnp.nan)

        def write_rows(stored: jax.Array, rows: jax.Array) -> jax.Array:
            rows = rows.swapaxes(1, 2).astype(stored.dtype)
            return jax.vmap(lambda a, b, i: jax.lax.dynamic_update_slice_in_dim(a, b, i, 1))(stored, rows, self.length)

        return Cache(write_rows(self.key, key), write_rows(self.value, value), self.length + new)

    def visible(self, num_queries: int, window: int | None = None, bidirectional: jax.Array | None = None) -> jax.Array:
        """Mask of the last T tokens stored: each sees itself and what came before, in its own row.

        Args:
          num_queries: T.
          window: most tokens that each sees, itself included; None means all.
          bidirectional: [B, T, T] bool, pairs of the last T tokens that see each other, whichever comes first; None: no
            pair.

        Returns:
          [B, 1, T, L] bool.
        """
        position = self.length[:, None] - num_queries + jnp.arange(num_queries)
        mask = jnp.arange(self.capacity) <= position[..., None]
        if bidirectional is not None:

            def shift(pairs: jax.Array, first: jax.Array) -> jax.Array:
                return jax.lax.dynamic_update_slice_in_dim(
                    jnp.zeros((num_queries, self.capacity), bool), pairs, first, 1
                )

            mask |= jax.vmap(shift)(bidirectional, self.length - num_queries)
        if window is not None:
            mask &= jnp.arange(self.capacity) > position[..., None] - window
        return mask[:, None]

    def rewind(self, length: jax.Array) -> Self:
        """Truncate each row to its first tokens.

        Args:
          length: [B] int32, tokens to keep.

        Returns:
          The shorter cache, on the same arrays.
        """
        return self.replace(length=jnp.minimum(jnp.asarray(length, jnp.int32), self.length))


@struct.dataclass
class Memory:
    """Keys and values of a cross-attention, projected once from what the encoder gave.

    `Memory()` is empty: the first call, with the encoder's output, fills it.

    Args:
      key: [B, H, S, D], or None.
      value: [B, H, S, D], or None.
      mask: [B, 1, 1, S] bool, True where there is a token; None: everywhere.
    """

    key: jax.Array | None = None
    value: jax.Array | None = None
    mask: jax.Array | None = None
