"""Two random views of each image, and measures of an encoder that go by them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlcore.data.augment import to_float
from dlcore.learner import Metrics, Sum
from dlcore.losses.contrastive import alignment_loss, uniformity_loss

__all__ = ["Augment", "Preprocess", "alignment_and_uniformity", "two_views"]

Augment = Callable[[jax.Array, jax.Array], jax.Array]
Preprocess = Callable[[jax.Array], jax.Array]


def two_views(
    augment: Augment, preprocess: Preprocess, keys: jax.Array, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Two views of each of `images: [B, H, W, C]` (uint8, or float in [0, 1]) under its own key, then preprocessed."""
    images = to_float(images)
    first, second = (
        jax.vmap(lambda key, image: augment(jax.random.fold_in(key, view), image))(keys, images) for view in (0, 1)
    )
    return preprocess(first), preprocess(second)


def alignment_and_uniformity(a: jax.Array, b: jax.Array, mask: jax.Array) -> Metrics:
    """How near two views [B, E] of an image lie, and how evenly images spread over the sphere; lower is better.

    Uniformity is taken over the pairs of a batch.
    """
    total = (mask > 0).sum(dtype=jnp.int32)
    spread = uniformity_loss(a, mask=mask)
    return {
        "alignment": Sum.of(jax.vmap(alignment_loss)(a, b), mask),
        "uniformity": Sum(spread * total, total),
    }
