"""Writing a sequence one token after the other: each is chosen from the logits, and fed back.

    p(token) = softmax(logits / temperature);  at temperature 0 the most probable token (greedy)

A sequence ends with the stop token, or at the greatest length. All of it runs inside jit, and stops when every
sequence of the batch has.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["choose_token", "decode"]


def choose_token(key: jax.Array, logits: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """A token [] int32 drawn from `logits: [V]`; the first of the largest at temperature 0."""
    temperature = jnp.asarray(temperature, logits.dtype)
    drawn = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1))
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)


def decode(
    step: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
    carry: Any,
    logits: jax.Array,
    keys: jax.Array,
    length: int,
    temperature: float | jax.Array = 1.0,
    stop_token: int | jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """(tokens [B, length] int32, lengths [B] int32), the stop token counted; what comes after it repeats it.

    step: (carry, tokens [B]) -> (carry, logits [B, V]). logits: [B, V], of the first token. keys: [B], one a sequence;
    token t is drawn with `fold_in(key, t)`. temperature: one number, or one a sequence.

    Raises: ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"length is {length}; it must be at least 1")
    batch = logits.shape[0]
    temperature = jnp.broadcast_to(jnp.asarray(temperature, logits.dtype), (batch,))
    fill = 0 if stop_token is None else stop_token

    def going(loop):
        t, _, _, _, _, done = loop
        return (t < length) & ~done.all()

    def write(loop):
        t, carry, logits, tokens, lengths, done = loop
        chosen = jax.vmap(lambda k, s, tau: choose_token(jax.random.fold_in(k, t), s, tau))(keys, logits, temperature)
        chosen = jnp.where(done, fill, chosen).astype(jnp.int32)
        tokens = tokens.at[:, t].set(chosen)
        lengths = lengths + ~done
        if stop_token is not None:
            done = done | (chosen == stop_token)
        carry, logits = step(carry, chosen)
        return t + 1, carry, logits, tokens, lengths, done

    tokens = jnp.full((batch, length), fill, jnp.int32)
    zero = jnp.zeros((), jnp.int32)
    loop = (zero, carry, logits, tokens, jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool))
    _, _, _, tokens, lengths, _ = jax.lax.while_loop(going, write, loop)
    return tokens, lengths
