"""Several references an image: one is drawn for each training step, all of them are measured."""

import jax
import jax.numpy as jnp
import optax

from dlcore.data.words import END, PAD, START, UNKNOWN

__all__ = ["caption_losses", "draw_reference", "forbid", "is_reference"]


def draw_reference(keys: jax.Array, captions: jax.Array) -> jax.Array:
    """Draw one of the references of each example, each as probable as another.

    Args:
      keys: [B].
      captions: [B, R, T] int, a missing reference all PAD.

    Returns:
      [B, T].
    """
    exists = (captions != PAD).any(-1)
    which = jax.vmap(lambda key, real: jax.random.categorical(key, jnp.where(real, 0.0, -jnp.inf)))(keys, exists)
    return jnp.take_along_axis(captions, which[:, None, None], axis=1)[:, 0]


def caption_losses(logits: jax.Array, captions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Measure the cross-entropy of each next token.

    Args:
      logits: [..., T - 1, V], of the tokens after the first.
      captions: [..., T] int, START w1 .. wn END PAD.

    Returns:
      (losses [..., T - 1] in nats, mask [..., T - 1], False at PAD).
    """
    target = captions[..., 1:]
    return optax.softmax_cross_entropy_with_integer_labels(logits, target), target != PAD


def forbid(logits: jax.Array) -> jax.Array:
    """Rule out PAD, START and UNKNOWN, which no caption shows.

    Args:
      logits: [..., V].

    Returns:
      [..., V], -inf at these three.
    """
    return logits.at[..., jnp.array([PAD, START, UNKNOWN])].set(-jnp.inf)


def is_reference(tokens: jax.Array, captions: jax.Array) -> jax.Array:
    """Tell whether what was written equals one of the references, word for word.

    Args:
      tokens: [B, L] int, w1 .. wn END; what follows END does not count.
      captions: [B, R, T] int, START w1 .. wn END PAD.

    Returns:
      [B] bool.
    """
    length = max(tokens.shape[1], captions.shape[2] - 1)
    before_end = jnp.cumsum(tokens == END, 1) - (tokens == END) == 0
    own = jnp.pad(jnp.where(before_end, tokens, PAD), ((0, 0), (0, length - tokens.shape[1])), constant_values=PAD)
    references = captions[:, :, 1:]
    references = jnp.pad(references, ((0, 0), (0, 0), (0, length - references.shape[2])), constant_values=PAD)
    return ((own[:, None] == references).all(-1) & (captions != PAD).any(-1)).any(1)
