"""Several references an image: one is sampled for each training step, all of them are measured."""

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.data.words import END, PAD
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.ops.checks import check_class_ids, check_range, check_shapes

__all__ = ["caption_losses", "draw_references", "is_reference"]


def draw_references(keys: jax.Array, captions: jax.Array, count: int) -> jax.Array:
    """Draw different captions of each image, each as probable as any other.

    Args:
      keys: [B], of the draws.
      captions: [B, R, T] int; a missing one is all PAD.
      count: number of captions to sample per image, at most R.

    Returns:
      [B, count, T]; the last are all PAD where fewer than `count` exist.
    """
    check_shapes(keys=(keys, "B"), captions=(captions, "int B R T"))
    check_whole_number("captions_per_image", count, 1)
    references = captions.shape[1]
    if count > references:
        raise ValueError(f"captions_per_image={count}: images have {references}; allowed: at most {references}")
    exists = (captions != PAD).any(-1)
    random_order = jax.vmap(lambda key: jax.random.uniform(key, (references,)))(keys)
    # Existing references first, in random order.
    order = jnp.where(exists, random_order, 2.0).argsort(-1)[:, :count]  # [B, count]
    return jnp.take_along_axis(captions, order[..., None], axis=1)


def caption_losses(logits: jax.Array, captions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Measure the cross-entropy of each next token.

    Args:
      logits: [..., T - 1, V], of the tokens after the first.
      captions: [..., T] int, START w1 .. wn END PAD.

    Returns:
      (losses [..., T - 1] in nats, mask [..., T - 1], False at PAD).
    """
    check_shapes(captions=(captions, "int ... T"))
    target = captions[..., 1:]
    check_shapes(**{"captions[..., 1:]": (target, "...")}, logits=(logits, "... V"))
    check_class_ids("captions", captions, logits.shape[-1])
    return softmax_cross_entropy_loss(logits, target), target != PAD


def is_reference(tokens: jax.Array, captions: jax.Array) -> jax.Array:
    """Return whether a sentence equals one of its references, word for word.

    Args:
      tokens: [B, L] int, w1 .. wn END; what follows END does not count.
      captions: [B, R, T] int, START w1 .. wn END PAD.

    Returns:
      [B] bool.
    """
    check_shapes(tokens=(tokens, "int B L"), captions=(captions, "int B R T"))
    tokens, captions = jnp.asarray(tokens), jnp.asarray(captions)
    check_range("tokens", tokens, 0)
    check_range("captions", captions, 0)
    length = max(tokens.shape[1], captions.shape[2] - 1)
    # What follows END does not count.
    before_end = jnp.cumsum(tokens == END, 1) - (tokens == END) == 0
    padded = jnp.pad(jnp.where(before_end, tokens, PAD), ((0, 0), (0, length - tokens.shape[1])), constant_values=PAD)
    references = captions[:, :, 1:]
    references = jnp.pad(references, ((0, 0), (0, 0), (0, length - references.shape[2])), constant_values=PAD)
    return ((padded[:, None] == references).all(-1) & (captions != PAD).any(-1)).any(1)
