"""Two random views of each image, and how close an encoder's embeddings of them lie."""

import jax
import jax.numpy as jnp

from dlcore.data.augment import Augmentation, Preprocess, to_float
from dlcore.learner import Metrics, Sum, example_keys
from dlcore.losses.contrastive import alignment_loss
from dlcore.ops.checks import check_shapes

__all__ = ["GLOBAL_CROPS", "alignment", "crops", "multi_crops", "two_views"]

GLOBAL_CROPS = 2
"""Large crops of an image in `multi_crops`; a teacher sees these alone."""


def two_views(
    augment: Augmentation, preprocess: Preprocess, keys: jax.Array, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draw two views of each image under its own key.

    Args:
      augment: `(key, image [H, W, C] in [0, 1]) -> image`.
      preprocess: a batch of views to the model's input.
      keys: [B].
      images: [B, H, W, C], uint8, or float in [0, 1].

    Returns:
      Two batches of preprocessed views.
    """
    check_shapes(images=(images, "B H W C"), keys=(keys, "B"))
    images = to_float(images)
    first, second = (
        jax.vmap(lambda key, image: augment(jax.random.fold_in(key, view), image))(keys, images) for view in (0, 1)
    )
    return preprocess(first), preprocess(second)


def crops(augment: Augmentation, keys: jax.Array, images: jax.Array, count: int, first: int = 0) -> jax.Array:
    """Draw crops of each image under its own key.

    Args:
      augment: `(key, image [H, W, C] in [0, 1]) -> image`.
      keys: [B].
      images: [B, H, W, C], uint8, or float in [0, 1].
      count: V, crops of each image.
      first: number of the first crop, so that several calls draw different ones.

    Returns:
      [V, B, h, w, C].
    """
    check_shapes(images=(images, "B H W C"), keys=(keys, "B"), count=(count, "int >= 1"), first=(first, "int >= 0"))
    images = to_float(images)

    def crop(view: int) -> jax.Array:
        return jax.vmap(lambda key, image: augment(jax.random.fold_in(key, view), image))(keys, images)

    return jnp.stack([crop(first + view) for view in range(count)])


def multi_crops(
    augment: Augmentation, augment_local: Augmentation, local_crops: int, batch: dict, rng: jax.Array
) -> list[jax.Array]:
    """Draw large and small crops of each image (multi-crop, Caron et al. 2020, arXiv:2006.09882).

    Args:
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, a large crop.
      augment_local: the same for a small crop, of a smaller shape.
      local_crops: L, small crops of an image.
      batch: `{"image": [B, H, W, C], "index": [B]}`.
      rng: PRNG key.

    Returns:
      [2, B, H, W, C], and [L, B, h, w, C] where there are small ones.
    """
    check_shapes(local_crops=(local_crops, "int >= 0"))
    keys = example_keys(rng, batch)
    views = [crops(augment, keys, batch["image"], GLOBAL_CROPS)]
    if local_crops:
        views.append(crops(augment_local, keys, batch["image"], local_crops, GLOBAL_CROPS))
    return views


def alignment(a: jax.Array, b: jax.Array, mask: jax.Array) -> Metrics:
    """Measure how close two views of an image lie; lower is better.

    How evenly images spread is a matter of all pairs of a data set: `dlcore.evaluators.uniformity`.

    Args:
      a: [B, E], unit embeddings of the first views.
      b: [B, E], unit embeddings of the second views.
      mask: [B], 0 for padding.

    Returns:
      `alignment`, the mean squared distance.
    """
    check_shapes(a=(a, "B E"), b=(b, "B E"), mask=(mask, "mask B"))
    a, b = (jnp.where(mask[:, None] > 0, z, 0) for z in (a, b))
    return {"alignment": Sum.of(alignment_loss(a, b), mask)}
