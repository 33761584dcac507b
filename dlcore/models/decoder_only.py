"""A language model of decoder blocks alone: each token sees those before it, and predicts the next.

What the families (`dlcore.models.gpt2`, `dlcore.models.llama`) share: reading with and without a cache.

    cache, logits = model.apply(variables, prompts, lengths, model.init_cache(batch), method="prefill")
    logits, cache = model.apply(variables, tokens[:, None], cache=cache)
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.export import is_symbolic_dim

from dlcore.choices import check_whole_number
from dlcore.models.fields import CheckedFields
from dlcore.nn.scanned_blocks import scan_blocks
from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.split_sequence import split_batch

__all__ = ["DecoderOnly"]


class DecoderOnly(CheckedFields):
    """A language model: tokens [B, T] -> logits [B, T, V] of the token after each.

    A family gives the fields `window`, `width` and `num_layers`, the list `blocks` (with `scan_blocks` one block in its
    place), the last `norm`, `embedded`, `logits`, and `_block()`: a block without a parent, that makes its cache.
    """

    scan_blocks = False
    """Whether the blocks are computed in one loop, see `dlcore.nn.scanned_blocks`."""

    def features(
        self,
        tokens: jax.Array,
        train: bool = False,
        cache: Any = None,
        *,
        embeds: jax.Array | None = None,
        positions: jax.Array | None = None,
        bidirectional: jax.Array | None = None,
        additions: Sequence[jax.Array] = (),
    ) -> Any:
        """Read tokens.

        Args:
          tokens: [B, T] int, T at most the window.
          cache: cache of the earlier tokens; None if there are none.
          embeds: [B, T, width], what the first block reads in place of the tokens' embeddings, such as features of an
            image between those of words; None embeds the tokens.
          positions: [B, T] int, or [3, B, T] of time, row and column where `mrope_sections` says so; None counts from
            the cache's length.
          bidirectional: [B, T, T] bool, pairs of these tokens that attend to each other whatever their order, such as
            those of an image or a prefix; None: no pair.
          additions: arrays [B, T, width], added to the outputs of the first blocks (Qwen3-VL's DeepStack).

        Returns:
          [B, T, width], of the last norm; with a cache (that, the cache after the tokens).
        """
        rows = None if cache is None else cache[0]["self"].length
        check_shapes(cache=(rows, "B or None"), tokens=(tokens, "int B T"), embeds=(embeds, "B T D or None"))
        length = tokens.shape[1]
        if length < 1:
            raise ValueError(f"tokens.shape={tokens.shape}: no token; allowed: at least 1")
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        position = jnp.arange(length) if cache is None else cache[0]["self"].length[:, None] + jnp.arange(length)
        position = position if positions is None else positions
        x = split_batch(self.embedded(tokens.astype(jnp.int32), position, train) if embeds is None else embeds)

        def call(block: nn.Module, x: jax.Array, cache: Any, i: int | None = None) -> tuple[jax.Array, Any]:
            angles = None if i is None else self._angles(i, position, positions is not None)
            more = {"angles": angles, "bidirectional": bidirectional}
            if cache is None:
                return block(x, None, train, None, None, None, None, True, **more), None
            return block(x, None, train, cache=cache, **more)

        if self.scan_blocks:
            stacked = None if cache is None else jax.tree.map(lambda *leaves: jnp.stack(leaves), *cache)
            x, stacked = scan_blocks(call, self.blocks, x, stacked, self.num_layers)
            after = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(self.num_layers))
        else:
            after = []
            for i, block in enumerate(self.blocks):
                x, state = call(block, x, None if cache is None else cache[i], i)
                x = x + additions[i] if i < len(additions) else x
                after.append(state)
        x = self.norm(x)
        return x if cache is None else (x, tuple(after))

    def __call__(self, tokens: jax.Array, train: bool = False, cache: Any = None, **options: Any) -> Any:
        """Predict the token after each.

        Args:
          tokens: [B, T] int, T at most the window.
          cache: cache of the earlier tokens; None if there are none.
          **options: embeds, positions, bidirectional and additions of `features`.

        Returns:
          [B, T, V] logits, at least float32; with a cache (logits, the cache after the tokens).
        """
        x = self.features(tokens, train, cache, **options)
        return self._logits(x) if cache is None else (self._logits(x[0]), x[1])

    def prefill(self, tokens: jax.Array, lengths: jax.Array, cache: Any, **options: Any) -> tuple[Any, jax.Array]:
        """Process prompts of several lengths in one call, and fill the cache.

        Args:
          tokens: [B, T] int, padded at the end with any tokens of the vocabulary.
          lengths: [B] int, tokens of each prompt, at least 1.
          cache: cache from `init_cache`.
          **options: embeds, positions, bidirectional and additions of `features`.

        Returns:
          (the cache after the prompts, logits [B, V] of the token after each).
        """
        check_shapes(tokens=(tokens, "int B T"), lengths=(lengths, "int B"))
        check_range("lengths", lengths, 1, tokens.shape[1])
        before = cache[0]["self"].length
        x, cache = self.features(tokens, cache=cache, **options)
        cache = tuple({"self": layer["self"].rewind(before + lengths)} for layer in cache)
        last = jnp.take_along_axis(x, (lengths - 1)[:, None, None], 1)
        return cache, self._logits(last)[:, 0]

    def embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions: what the first block reads.

        Args:
          tokens: [B, T] int.
          position: [T] or [B, T] int.

        Returns:
          [B, T, width].
        """
        ...

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights), or by the head.

        Args:
          x: [..., width].

        Returns:
          [..., V].
        """
        ...

    @nn.nowrap
    def _angles(self, layer: int, positions: jax.Array, are_given: bool) -> jax.Array | None:
        """Return [.., T, 1, features of a head / 2] radians for a block, None where it counts positions by itself."""
        return None

    def _logits(self, x: jax.Array) -> jax.Array:
        logits = split_batch(self.logits(x))
        return to_acc_dtype(logits)

    @nn.nowrap
    def init_cache(self, batch_size: int, length: int | None = None) -> Any:
        """Make an empty cache.

        Args:
          batch_size: B.
          length: the most tokens that it holds; None means the window.

        Returns:
          One cache a block.
        """
        length = self.window if length is None else length
        if not is_symbolic_dim(batch_size):  # exports leave it open
            check_whole_number("batch_size", batch_size, 1)
        check_whole_number("length", length, 1)
        if length > self.window:
            raise ValueError(f"length={length}: too long; allowed: at most window={self.window}")
        return tuple(self._block().init_cache(batch_size, length, self.width) for _ in range(self.num_layers))
