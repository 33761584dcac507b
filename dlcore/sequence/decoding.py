"""Autoregressive generation: each token is chosen from the logits and fed back.

    p(token) = softmax(logits / temperature);  at temperature 0 the most probable token (greedy)

A sequence ends with the stop token, or at `max_length`. All of it runs inside jit, and stops when every sequence of the
batch has.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

__all__ = ["generate", "sample_token"]


def sample_token(key: jax.Array, logits: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """Draw a token.

    Args:
      key: of the draw.
      logits: [V].
      temperature: of the distribution; 0 takes the first of the largest logits.

    Returns:
      [] int32.
    """
    chex.assert_rank(logits, 1)
    temperature = jnp.asarray(temperature, logits.dtype)
    drawn = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1))
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)


def generate(
    step: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
    carry: Any,
    logits: jax.Array,
    keys: jax.Array,
    max_length: int,
    temperature: float | jax.Array = 1.0,
    stop_token: int | jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Generate one sequence for each key.

    Args:
      step: (carry, tokens [B]) -> (carry, logits [B, V]).
      carry: after the prompt.
      logits: [B, V], of the first token.
      keys: [B], one a sequence; token t is drawn with `fold_in(key, t)`.
      max_length: tokens of the longest sequence, at least 1.
      temperature: [] or [B].
      stop_token: ends a sequence; None lets all run to `max_length`.

    Returns:
      (tokens [B, max_length] int32, lengths [B] int32); the stop token counts, and is repeated after a sequence's end.

    Raises:
      ValueError: `max_length` is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length}: too short; allowed: at least 1")
    chex.assert_rank(logits, 2)
    batch = logits.shape[0]
    temperature = jnp.broadcast_to(jnp.asarray(temperature, logits.dtype), (batch,))
    fill = 0 if stop_token is None else stop_token

    def unfinished(loop):
        t, _, _, _, _, done = loop
        return (t < max_length) & ~done.all()

    def append(loop):
        t, carry, logits, tokens, lengths, done = loop
        sampled = jax.vmap(lambda k, s, tau: sample_token(jax.random.fold_in(k, t), s, tau))(keys, logits, temperature)
        sampled = jnp.where(done, fill, sampled).astype(jnp.int32)
        tokens = tokens.at[:, t].set(sampled)
        lengths = lengths + ~done
        if stop_token is not None:
            done = done | (sampled == stop_token)
        carry, logits = step(carry, sampled)
        return t + 1, carry, logits, tokens, lengths, done

    tokens = jnp.full((batch, max_length), fill, jnp.int32)
    zero = jnp.zeros((), jnp.int32)
    loop = (zero, carry, logits, tokens, jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool))
    _, _, _, tokens, lengths, _ = jax.lax.while_loop(unfinished, append, loop)
    return tokens, lengths
