"""Adaptive discriminator augmentation (ADA): a GAN of few images, whose discriminator sees augmented images alone.

Karras, Aittala, Hellsten, Laine, Lehtinen & Aila 2020, arXiv:2006.06676.

    r = E[sign(D(T_p(x)))]                                         of real x: 0 without overfitting, 1 where D is sure
    p <- clip(p + sign(r - target) n / N, 0, 1)                    n: images of the step, N: images from 0 to 1
    T_p: mirror, quarter turns, whole-pixel shift, brightness, contrast, each with probability p, by example

Real and generated images pass through T_p before every call of the discriminator, also in the generator's step, whose
gradient goes through it. While p is below 1 an image is more often left alone than turned by any one angle, so the
generator cannot take an augmented image for a real one, and its samples show no augmentation.

The paper's further transforms (scaling, rotation by any angle, saturation, filters, noise, cutout) are left out: it
gains most by those that are here. p moves in every step, where the authors average r over four.
"""

import math

import jax
import jax.numpy as jnp

from dlcore.generative.schedules import check_floats
from dlcore.ops.checks import check_shapes

__all__ = ["augment_images", "update_probability"]

SHIFT = 0.125
"""Largest shift, as a fraction of the side."""
BRIGHTNESS = 0.2
"""Deviation of what is added to all pixels, in images of [-1, 1]."""
CONTRAST = 0.5 * math.log(2)
"""Deviation of the logarithm of the factor on all pixels."""


def augment_images(keys: jax.Array, images: jax.Array, probability: float | jax.Array) -> jax.Array:
    """Augment each image by its key: differentiable, each transform with the same probability.

    Args:
      keys: [B] keys.
      images: [B, H, W, C] in [-1, 1], H = W.
      probability: p, in [0, 1].

    Returns:
      [B, H, W, C], not clipped.
    """
    check_shapes(keys=(keys, "B"), images=(images, "B H W C"), probability=(probability, "0 to 1"))
    check_floats("images", images)
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images.shape={images.shape}: a quarter turn needs squares; allowed: [B, H, W, C] with H = W")
    return jax.vmap(_augment, (0, 0, None))(keys, images, probability)


def _augment(key: jax.Array, image: jax.Array, probability: float | jax.Array) -> jax.Array:
    """Augment one image [S, S, C]."""
    side, limit = image.shape[0], round(SHIFT * image.shape[0])
    applied = jax.random.uniform(jax.random.fold_in(key, 0), (5,)) < probability
    keys = [jax.random.fold_in(key, k) for k in range(1, 6)]
    # Mirror and quarter turns; each of the two and of the four is equally likely where it is applied.
    mirror = applied[0] & jax.random.bernoulli(keys[0])
    image = jnp.where(mirror, image[:, ::-1], image)
    turns = jnp.where(applied[1], jax.random.randint(keys[1], (), 0, 4), 0)
    image = jax.lax.select_n(turns, *(jnp.rot90(image, k) for k in range(4)))
    # Shift by whole pixels; the image is continued by its reflection.
    shift = jnp.where(applied[2], jax.random.randint(keys[2], (2,), -limit, limit + 1), 0)
    rows, columns = (_reflected(jnp.arange(side) - pixels, side) for pixels in shift)
    image = image[rows][:, columns]
    # Brightness, then contrast about the middle gray, which is 0.
    offset = jnp.where(applied[3], BRIGHTNESS * jax.random.normal(keys[3]), 0)
    log_factor = jnp.where(applied[4], CONTRAST * jax.random.normal(keys[4]), 0)
    return ((image + offset) * jnp.exp(log_factor)).astype(image.dtype)


def _reflected(index: jax.Array, side: int) -> jax.Array:
    """Lead indices beyond an edge back: -1 to 1, and `side` to side - 2."""
    index = jnp.abs(index)
    return jnp.where(index >= side, 2 * (side - 1) - index, index)


def update_probability(
    probability: jax.Array, mean_sign: jax.Array, num_images: float | jax.Array, target: float, images_to_one: float
) -> jax.Array:
    """Move the probability by one step: up where the discriminator overfits, else down.

    Args:
      probability: [], p.
      mean_sign: [], r, mean sign of the logits of real images.
      num_images: images of the step.
      target: r that is sought, in [-1, 1].
      images_to_one: images that take p from 0 to 1, at least 1.

    Returns:
      [], the new p in [0, 1].
    """
    check_shapes(num_images=(num_images, ">= 0"))
    check_shapes(
        probability=(probability, "0 to 1"),
        mean_sign=(mean_sign, "-1 to 1"),
        target=(target, "-1 to 1"),
        images_to_one=(images_to_one, ">= 1"),
    )
    return jnp.clip(probability + jnp.sign(mean_sign - target) * num_images / images_to_one, 0, 1)
