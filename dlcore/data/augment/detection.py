"""Random flips and crops that move the boxes with the image.

An augmentation here is `(key, image [H, W, C] float, boxes [M, 4] pixels, valid [M]) -> (image, boxes, valid)`, run
inside jit; boxes that leave the image are no longer valid. Images are preprocessed ones: 0 comes in from outside.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops.boxes import box_area, clip_boxes

__all__ = ["BoxAugmentation", "compose_boxes", "random_flip_boxes", "random_zoom_boxes"]

BoxAugmentation = Callable[[Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


def compose_boxes(*augmentations: BoxAugmentation) -> BoxAugmentation:
    """Chain augmentations of images with boxes, the i-th with `fold_in(key, i)`.

    Args:
      augmentations: applied in this order.

    Returns:
      `(key, image [H, W, C] float, boxes [M, 4], valid [M]) -> (image, boxes, valid)`.
    """

    def apply(key, image, boxes, valid):
        for i, part in enumerate(augmentations):
            image, boxes, valid = part(jax.random.fold_in(key, i), image, boxes, valid)
        return image, boxes, valid

    return apply


def random_flip_boxes(horizontal: float = 0.5, vertical: float = 0.0) -> BoxAugmentation:
    """Build an augmentation that mirrors left and right, and top and bottom, at random.

    Args:
      horizontal: probability to mirror left and right.
      vertical: probability to mirror top and bottom.

    Returns:
      `(key, image [H, W, C] float, boxes [M, 4], valid [M]) -> (image, boxes, valid)`.

    Raises:
      ValueError: a probability is outside [0, 1].
    """
    for name, value in (("horizontal", horizontal), ("vertical", vertical)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value}: out of range; allowed: in [0, 1]")

    def apply(key, image, boxes, valid):
        height, width = image.shape[:2]
        across, down = jax.random.bernoulli(key, jnp.array([horizontal, vertical]))
        x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)
        image = jnp.where(across, image[:, ::-1], image)
        image = jnp.where(down, image[::-1], image)
        x0, x1 = jnp.where(across, width - x1, x0), jnp.where(across, width - x0, x1)
        y0, y1 = jnp.where(down, height - y1, y0), jnp.where(down, height - y0, y1)
        return image, jnp.stack([x0, y0, x1, y1], -1), valid

    return apply


def random_zoom_boxes(low: float = 0.8, high: float = 1.25, keep: float = 0.4) -> BoxAugmentation:
    """Build an augmentation that scales at random and cuts a window of the image's own size.

    Where the scaled image is smaller than the window it lies anywhere inside.

    Args:
      low: least factor.
      high: greatest factor; factors are log-uniform.
      keep: a box stays valid while more than this share of its area is inside the image.

    Returns:
      `(key, image [H, W, C] float, boxes [M, 4], valid [M]) -> (image, boxes, valid)`.

    Raises:
      ValueError: the factors are not 0 < low <= high, or `keep` is outside [0, 1].
    """
    if not 0 < low <= high:
        raise ValueError(f"low={low}, high={high}: no range; allowed: 0 < low <= high")
    if not 0 <= keep <= 1:
        raise ValueError(f"keep={keep}: out of range; allowed: in [0, 1]")

    def apply(key, image, boxes, valid):
        zoom, position = jax.random.split(key)
        factor = jnp.exp(jax.random.uniform(zoom, (), minval=jnp.log(low), maxval=jnp.log(high)))
        room = jnp.array(image.shape[:2], jnp.float32) * (1 - factor)
        down, right = room * jax.random.uniform(position, (2,))
        scale = jnp.stack([factor, factor])
        image = jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, jnp.stack([down, right]), "linear", antialias=False
        )
        moved = boxes * factor + jnp.stack([right, down, right, down])
        inside = clip_boxes(moved, image.shape[:2])
        stays = box_area(inside) > jnp.maximum(keep * box_area(moved), 1.0)
        return image, inside.astype(boxes.dtype), valid * stays.astype(valid.dtype)

    return apply
