"""Images of several sizes in one batch: each lies in the upper left corner of a canvas, whose other pixels are padding.

A batch then has `image_size: [B, 2]`, height and width of each image on its canvas. As in torchvision, the padding is
zero after normalization, anchors in it are treated as all others, and boxes are clipped to their own image.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.position import sinusoidal_encoding_2d
from dlcore.ops.checks import check_range, check_shapes, check_size

__all__ = ["ImageSize", "add_image_sizes", "clip_sizes", "pixel_mask", "token_positions", "zero_padding"]

ImageSize = tuple[int | jax.Array, int | jax.Array] | jax.Array
"""(Height, width) of an image: ints where all images are of one size, else traced."""


def pixel_mask(image_size: jax.Array, shape: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> jax.Array:
    """Mark the pixels, or the locations of a map, that lie in the image.

    Args:
      image_size: [B, 2] int, height and width of each image.
      shape: (h, w) of the canvas or map.
      stride: pixels between two locations of the map along each side; a location counts by its upper left pixel.

    Returns:
      [B, h, w] bool.
    """
    check_shapes(image_size=(image_size, "B 2"))
    image_size = jnp.asarray(image_size)
    check_range("image_size", image_size, 0)
    check_size("shape", shape)
    check_size("stride", stride, "down, across")
    rows, columns = (jnp.arange(shape[k]) * stride[k] < image_size[:, k, None] for k in (0, 1))
    return rows[:, :, None] & columns[:, None]


def token_positions(
    shape: tuple[int, int],
    canvas: tuple[int, int],
    features: int,
    image_size: jax.Array | None,
    max_period: float = 10_000.0,
) -> tuple[jax.Array, jax.Array | None, np.ndarray | jax.Array]:
    """Encode the positions of the tokens of a map, mask those of the padding, and find the sides of the images.

    Args:
      shape: (h, w) of the map.
      canvas: (H, W) of the padded images.
      features: D, a multiple of 4.
      image_size: [B, 2], height and width of each image; None for images without padding.
      max_period: see `sinusoidal_encoding`.

    Returns:
      (sines of row and column [h w, D], None, sides (W, H, W, H)); of padded images ([B, h w, D], which count the rows
      and columns of the image alone, mask [B, 1, 1, h w] bool that no token of the padding passes, [B, 4]).
    """
    check_size("shape", shape)
    check_size("canvas", canvas)
    if image_size is None:
        position = sinusoidal_encoding_2d(*shape, features, max_period).reshape(-1, features)
        return position, None, np.tile(np.array(canvas[::-1], np.float32), 2)
    mask = pixel_mask(image_size, shape, (canvas[0] // shape[0], canvas[1] // shape[1]))  # [B, h, w]
    counts = mask[:, :, 0].sum(1), mask[:, 0].sum(1)
    position = sinusoidal_encoding_2d(*shape, features, max_period, *counts)
    sides = jnp.tile(image_size[:, ::-1], 2).astype(jnp.float32)
    return position.reshape(len(mask), -1, features), mask.reshape(len(mask), 1, 1, -1), sides


def zero_padding(images: jax.Array, batch: dict) -> jax.Array:
    """Set the padding of normalized images to zero.

    Args:
      images: [B, H, W, C].
      batch: batch with `image_size: [B, 2]` where images are padded.

    Returns:
      [B, H, W, C].
    """
    check_shapes(images=(images, "B H W C"), image_size=(batch.get("image_size"), "B 2 or None"))
    if "image_size" not in batch:
        return images
    return jnp.where(pixel_mask(batch["image_size"], images.shape[1:3])[..., None], images, 0)


def clip_sizes(batch: dict, images: jax.Array) -> tuple[ImageSize, int | None]:
    """Find the size that the boxes of each image are clipped to.

    Args:
      As `zero_padding`.

    Returns:
      (sizes, the axis to map them by): [B, 2] and 0 of padded images; else (H, W) and None, the same for all.
    """
    check_shapes(images=(images, "B H W C"), image_size=(batch.get("image_size"), "B 2 or None"))
    return (batch["image_size"], 0) if "image_size" in batch else (images.shape[1:3], None)


def add_image_sizes(detections: dict[str, jax.Array], batch: dict) -> dict[str, jax.Array]:
    """Add the sizes of images to their detections, by which boxes become those of the original images.

    Args:
      detections: `boxes: [B, K, 4]` in pixels of the canvas, ...
      batch: with `original_size: [B, 2]` of the images before resizing, where it is known, and `image_size: [B, 2]`
        where images are padded.

    Returns:
      The detections, and the sizes that the batch has.
    """
    return {**detections, **{name: batch[name] for name in ("image_size", "original_size") if name in batch}}
