"""Encoder-decoder models: an encoder of the source, and a decoder that attends to it token by token.

    memory = encoder(source);    logits = decoder(tokens, memory)

What the families share: `dlcore.models.transformer`, `bart`, `t5` and `vision_encoder_decoder`. A decoder with a cache
projects the memory once, and each token costs one row of attention:

    memory = model.apply(variables, source, method="encode")
    carry = model.apply(variables, memory, length, method="start")
    carry, logits = model.apply(variables, carry, tokens, method="step")              # of `sequence.decoding.generate`
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.models.fields import CheckedFields
from dlcore.nn.attention import causal_mask
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["EncoderDecoder"]


class EncoderDecoder(CheckedFields):
    """An encoder and a decoder: (source [B, S], tokens [B, T]) -> logits [B, T, V] of the token after each.

    A family gives `pad_token`, the lists of blocks `encoder` and `decoder` on tokens of one width, `embedded` and
    `logits`; `finish` where it has a last norm, and `bias` where positions are in the scores.
    """

    def __call__(
        self, source: jax.Array, tokens: jax.Array, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Read the source, and give the logits of each next token of the target.

        Args:
          source: [B, S] int.
          tokens: [B, T] int, the right ones, behind a token that starts them.
          mask: [B, S] bool, True where the source has a token; None: where it is not `pad_token`.

        Returns:
          [B, T, V], at least float32.
        """
        return self.decode(self.encode(source, train, mask), tokens, train)

    def encode(self, source: jax.Array, train: bool = False, mask: jax.Array | None = None) -> dict[str, jax.Array]:
        """Read the source.

        Args:
          source: [B, S] int.
          mask: [B, S] bool, True where there is a token; None: where it is not `pad_token`.

        Returns:
          The memory: `states: [B, S, width]` and `mask: [B, 1, 1, S]`, True where there is a token.
        """
        check_shapes(source=(source, "int B S"), mask=(mask, "B S or None"))
        if source.shape[1] < 1:
            raise ValueError(f"source.shape={source.shape}: no token; allowed: at least 1")
        mask = (source != self.pad_token if mask is None else mask.astype(bool))[:, None, None]
        positions = jnp.arange(source.shape[1])
        x, bias = self.embedded("encoder", source, positions, train), self.bias("encoder", positions, source.shape[1])
        for block in self.encoder:
            x = block(x, train, mask, bias)
        return {"states": self.finish("encoder", x, train), "mask": mask}

    def decode(self, memory: dict[str, jax.Array], tokens: jax.Array, train: bool = False) -> jax.Array:
        """Compute the logits of each next token by teacher forcing.

        Args:
          memory: memory from `encode`.
          tokens: [B, T] int.

        Returns:
          [B, T, V], at least float32.
        """
        check_shapes(memory=(memory["states"], "B S D"), tokens=(tokens, "int B T"))
        length = tokens.shape[1]
        if length < 1:
            raise ValueError(f"tokens.shape={tokens.shape}: no token; allowed: at least 1")
        positions = jnp.arange(length)
        x, bias = self.embedded("decoder", tokens, positions, train), self.bias("decoder", positions, length)
        for block in self.decoder:
            x = block(x, memory["states"], train, causal_mask(length), memory["mask"], bias)
        return self._logits(x, train)

    def start(self, memory: dict[str, jax.Array], length: int) -> dict[str, Any]:
        """Make the carry before the first token.

        Args:
          memory: memory from `encode`.
          length: tokens that will be read at most.

        Returns:
          The carry: an empty cache for each block, and the memory, which the first step projects into them.
        """
        check_whole_number("length", length, 1)
        rows, _, width = memory["states"].shape
        caches = tuple(block.init_cache(rows, length, width) for block in self.decoder)
        return {"caches": caches, "memory": memory}

    def step(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Decode one step.

        Args:
          carry: after the tokens before.
          tokens: [B] int.

        Returns:
          (carry after it, logits [B, V] of the next).
        """
        check_shapes(tokens=(tokens, "int B"))
        carry, logits = self.read(carry, tokens[:, None])
        return carry, logits[:, 0]

    def read(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Process several tokens in one call, such as a prompt.

        Args:
          carry: after the tokens before.
          tokens: [B, T] int.

        Returns:
          (carry after them, logits [B, T, V] of the token after each).
        """
        memory, caches = carry.get("memory", {}), []
        before = carry["caches"][0]["self"]
        check_shapes(carry=(before.length, "B"), tokens=(tokens, "int B T"))
        positions = before.length[:, None] + jnp.arange(tokens.shape[1])
        x = self.embedded("decoder", tokens, positions, False)
        bias = self.bias("decoder", positions, before.capacity)
        for block, cache in zip(self.decoder, carry["caches"], strict=True):
            x, cache = block(x, memory.get("states"), memory_mask=memory.get("mask"), bias=bias, cache=cache)
            caches.append(cache)
        return {"caches": tuple(caches)}, self._logits(x, False)

    def embedded(self, side: str, tokens: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions: what the first block reads.

        Args:
          side: encoder or decoder.
          tokens: [B, T] int.
          positions: [T] or [B, T] int.

        Returns:
          [B, T, width].
        """
        ...

    def finish(self, side: str, x: jax.Array, train: bool) -> jax.Array:
        """Apply the final norm to the hidden states, which post-norm blocks do without.

        Args:
          side: encoder or decoder.
          x: [B, T, width].

        Returns:
          [B, T, width].
        """
        return x

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights), or by the head.

        Args:
          x: [B, T, width].

        Returns:
          [B, T, V].
        """
        ...

    def bias(self, side: str, positions: jax.Array, key_length: int) -> jax.Array | None:
        """Return the bias that is added to the scores of self-attention.

        Args:
          side: encoder or decoder.
          positions: [T] or [B, T] int, of the queries.
          key_length: S.

        Returns:
          [H, T, S] or [B, H, T, S], or None where positions are in the embedding.
        """
        return None

    def _logits(self, x: jax.Array, train: bool) -> jax.Array:
        logits = self.logits(self.finish("decoder", x, train))
        return to_acc_dtype(logits)
