"""GPT-2: a decoder-only transformer that predicts the next token.

    x = E[tokens] + P[position];  x = block(x) for each block (pre-norm, causal);  logits = LN(x) E^T

Radford et al. 2019, "Language models are unsupervised multitask learners"; GPT-3 (Brown et al. 2020, arXiv:2005.14165)
is the same network at other sizes. The embedding E is also the head. Kernels start as N(0, 0.02^2), those at the end of
a branch smaller by sqrt(2 blocks), so the first loss is about log V. Activations are GELU's tanh form, as published.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn.attention import causal_mask
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerDecoderBlock

__all__ = ["GPT2", "MODELS"]


class GPT2(nn.Module):
    """A language model: tokens [B, T] -> logits [B, T, V] of the token after each.

    Args:
      vocab_size: V, different tokens.
      window: the most tokens that it reads, prompt and continuation together.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      dropout: probability to drop a value of the embedding, of a branch or an attention weight in training.
      epsilon: of the layer norms.
      dtype: of computation; None takes the parameters'.
      remat: recomputation of each block in the backward pass, to save memory: none, products, weights or full.
    """

    vocab_size: int = 50257
    window: Annotated[int, Range(1)] = 1024
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    dropout: Annotated[float, Range(0, 1)] = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    remat: Remat = "none"

    def setup(self):
        """Build the embeddings, the blocks and the last norm."""
        init = nn.initializers.normal(0.02)
        self.wte = nn.Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        self.wpe = nn.Embed(self.window, self.width, embedding_init=init, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        block = remat(TransformerDecoderBlock, self.remat, static_argnums=(3,))
        self.blocks = [self._block(block, i) for i in range(self.num_layers)]
        self.norm = LayerNorm(self.epsilon, dtype=self.dtype)

    def _block(self, block: Any = TransformerDecoderBlock, i: int | None = None) -> Any:
        return block(
            self.num_heads,
            4 * self.width,
            cross=False,
            pre_norm=True,
            activation=functools.partial(nn.gelu, approximate=True),
            dropout_rate=self.dropout,
            attention_dropout_rate=self.dropout,
            epsilon=self.epsilon,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            out_kernel_init=nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5),
            **({"parent": None} if i is None else {"name": f"blocks_{i}"}),
        )

    def features(self, tokens: jax.Array, train: bool = False, cache: Any = None) -> Any:
        """Read tokens.

        Args:
          tokens: [B, T] int, T at most the window.
          train: apply dropout, with the "dropout" rng.
          cache: of the tokens before; None: there are none.

        Returns:
          [B, T, width], of the last norm; with a cache (that, the cache after the tokens).

        Raises:
          ValueError: there are more tokens than the window.
        """
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        position = jnp.arange(length) if cache is None else cache[0]["self"].length[:, None] + jnp.arange(length)
        place = jnp.take(self.wpe.embedding, position, 0, mode="fill")  # NaN beyond the window
        word = self.wte(tokens.astype(jnp.int32))
        x = self.drop(word + place.astype(word.dtype), deterministic=not train)
        after = []
        for i, block in enumerate(self.blocks):
            if cache is None:
                x = block(x, None, train, causal_mask(length))
            else:
                x, state = block(x, None, train, cache=cache[i])
                after.append(state)
        x = self.norm(x)
        return x if cache is None else (x, tuple(after))

    def __call__(self, tokens: jax.Array, train: bool = False, cache: Any = None) -> Any:
        """Predict the token after each.

        Args:
          tokens: [B, T] int, T at most the window.
          train: apply dropout, with the "dropout" rng.
          cache: of the tokens before; None: there are none.

        Returns:
          [B, T, V] logits, at least float32; with a cache (logits, the cache after the tokens).
        """
        x = self.features(tokens, train, cache)
        return self._logits(x) if cache is None else (self._logits(x[0]), x[1])

    def prefill(self, tokens: jax.Array, lengths: jax.Array, cache: Any) -> tuple[Any, jax.Array]:
        """Read prompts of several lengths in one call.

        Args:
          tokens: [B, T] int, padded at the end with anything.
          lengths: [B] int, tokens of each prompt, at least 1.
          cache: of `init_cache`.

        Returns:
          (the cache after the prompts, logits [B, V] of the token after each).
        """
        before = cache[0]["self"].length
        x, cache = self.features(tokens, cache=cache)
        cache = tuple({"self": layer["self"].rewind(before + lengths)} for layer in cache)
        last = jnp.take_along_axis(x, (lengths - 1)[:, None, None], 1)
        return cache, self._logits(last)[:, 0]

    def _logits(self, x: jax.Array) -> jax.Array:
        return self.wte.attend(x).astype(jnp.promote_types(x.dtype, jnp.float32))

    @nn.nowrap
    def init_cache(self, batch_size: int, length: int | None = None) -> Any:
        """Make an empty cache.

        Args:
          batch_size: B.
          length: the most tokens that it holds; None means the window.

        Returns:
          One cache a block.

        Raises:
          ValueError: the length is above the window.
        """
        length = self.window if length is None else length
        if length > self.window:
            raise ValueError(f"length={length}: too long; allowed: at most window={self.window}")
        return tuple(self._block().init_cache(batch_size, length, self.width) for _ in range(self.num_layers))


MODELS = {
    "gpt2": GPT2,
    "gpt2_medium": functools.partial(GPT2, num_layers=24, num_heads=16, width=1024),
    "gpt2_large": functools.partial(GPT2, num_layers=36, num_heads=20, width=1280),
    "gpt2_xl": functools.partial(GPT2, num_layers=48, num_heads=25, width=1600),
}
