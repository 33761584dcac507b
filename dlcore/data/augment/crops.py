"""Crops: a random crop in training; in testing several fixed crops, whose predictions are averaged.

    train:  scale the shorter side to a random length, then cut a random window of `size`
    test:   cut the four corners and the center, each also mirrored (ten crops), at one or several scales, and average
            the logits

Krizhevsky, Sutskever & Hinton 2012 (ten crops); Simonyan & Zisserman 2014, arXiv:1409.1556, and He et al. 2015,
arXiv:1512.03385 (scales from 256 to 480 in training, {224, 256, 384, 480, 640} in testing). Inception's crop is
`random_resized_crop` in `occlusion`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_pair, check_whole_number
from dlcore.data.augment.compose import Augmentation
from dlcore.data.image_headers import target_size
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = [
    "average_over_crops",
    "center_crop",
    "five_crop",
    "random_scale_crop",
    "resized_crop",
    "scale_shorter_side",
    "ten_crop",
]

Size = int | tuple[int, int]

_METHODS = (
    *("nearest", "linear", "bilinear", "trilinear", "triangle"),
    *("cubic", "bicubic", "tricubic", "lanczos3", "lanczos5"),
)
"""Interpolations of `jax.image.resize`."""


def center_crop(image: jax.Array, size: Size) -> jax.Array:
    """Cut out the middle of an image; an odd remainder is rounded as torchvision does.

    Args:
      image: [H, W, C].
      size: side, or (h, w).

    Returns:
      [h, w, C].
    """
    height, width = _fits(image, size)
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return image[top : top + height, left : left + width]


def five_crop(image: jax.Array, size: Size) -> jax.Array:
    """Cut out the four corners and the center.

    Args:
      image: [H, W, C].
      size: side, or (h, w).

    Returns:
      [5, h, w, C]: top left, top right, bottom left, bottom right, center.
    """
    height, width = _fits(image, size)
    bottom, right = image.shape[0] - height, image.shape[1] - width
    corners = [image[y : y + height, x : x + width] for y in (0, bottom) for x in (0, right)]
    return jnp.stack([*corners, center_crop(image, size)])


def ten_crop(image: jax.Array, size: Size, vertical: bool = False) -> jax.Array:
    """Cut out the four corners and the center, of the image and of its mirror image.

    Args:
      image: [H, W, C].
      size: side, or (h, w).
      vertical: mirror top and bottom instead of left and right.

    Returns:
      [10, h, w, C]: the five crops of the image, then those of its mirror image.
    """
    return jnp.concatenate([five_crop(image, size), five_crop(image[::-1] if vertical else image[:, ::-1], size)])


def resized_crop(
    image: jax.Array, top: int, left: int, height: int, width: int, size: Size, method: str = "linear"
) -> jax.Array:
    """Crop a box of the image and resize it, with antialiasing where it shrinks.

    Args:
      image: [H, W, C].
      top: first row of the box.
      left: first column of the box.
      height: height of the box in pixels.
      width: width of the box in pixels.
      size: side, or (h, w), of the result.
      method: interpolation, as in `jax.image.resize`.

    Returns:
      [h, w, C].
    """
    check_shapes(image=(image, "H W C"), top=(top, "int >= 0"), left=(left, "int >= 0"))
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    check_choice("method", method, _METHODS)
    if top + height > image.shape[0] or left + width > image.shape[1]:
        raise ValueError(f"{top=}, {left=}, {height=}, {width=}: not inside the image; allowed: {image.shape[:2]}")
    box = image[top : top + height, left : left + width]
    return _resize(box, target_size(size, "size"), method)


def scale_shorter_side(image: jax.Array, length: int, method: str = "linear") -> jax.Array:
    """Resize an image so that its shorter side has a given length; keep the aspect ratio.

    The resize is antialiased where the image shrinks.

    Args:
      image: [H, W, C].
      length: length of the shorter side in pixels.
      method: interpolation, as in `jax.image.resize`.

    Returns:
      [h, w, C] with min(h, w) = length.
    """
    check_shapes(image=(image, "H W C"))
    check_choice("method", method, _METHODS)
    check_whole_number("length", length, 1)
    height, width = image.shape[:2]
    short = min(height, width)
    if short < 1:
        raise ValueError(f"image.shape={image.shape}: no pixel; allowed: sides of at least 1")
    return _resize(image, (max(1, height * length // short), max(1, width * length // short)), method)


def random_scale_crop(size: Size, shorter_side: tuple[float, float]) -> Augmentation:
    """Build an augmentation that scales the image by a random factor and cuts a window at a random position.

    The resize is bilinear, without antialiasing; uint8 results are rounded to the nearest level.

    Args:
      size: side, or (h, w), of the window and of the result.
      shorter_side: range of the shorter side of the scaled image, in pixels.

    Returns:
      `(key, image [H, W, C]) -> [h, w, C]`.
    """
    height, width = target_size(size, "size")
    check_pair("shorter_side", shorter_side)
    low, high = shorter_side
    if not max(height, width) <= low <= high < np.inf:
        raise ValueError(f"shorter_side={shorter_side}: invalid; allowed: ascending, from {max(height, width)} on")

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        check_shapes(image=(image, "H W C"))
        scaling, position = jax.random.split(key)
        factor = jax.random.uniform(scaling, minval=low, maxval=high) / min(image.shape[:2])
        slack = jnp.array(image.shape[:2]) * factor - jnp.array([height, width])
        corner = jnp.floor(jax.random.uniform(position, (2,)) * (slack + 1))
        corner = jnp.minimum(corner, slack)
        real = acc_dtype_of(image.dtype)
        scale = jnp.stack([factor, factor]).astype(real)
        window = jax.image.scale_and_translate(
            image.astype(real), (height, width, image.shape[2]), (0, 1), scale, -corner.astype(real), "linear", False
        )
        return _to_dtype(window, image.dtype)

    return apply


def average_over_crops(
    predict: Callable[[jax.Array], Any], crops: Callable[[jax.Array], jax.Array]
) -> Callable[[jax.Array], Any]:
    """Build a classifier that averages the scores over several crops of each image.

    Args:
      predict: images [N, h, w, C] -> scores [N, K], or any pytree of such.
      crops: image [H, W, C] -> [n, h, w, C].

    Returns:
      Images [B, H, W, C] -> mean scores [B, K].
    """

    def averaged(images: jax.Array) -> Any:
        views = jax.vmap(crops)(images)
        count = views.shape[1]
        scores = predict(views.reshape(-1, *views.shape[2:]))
        return jax.tree.map(lambda s: s.reshape(-1, count, *s.shape[1:]).mean(1), scores)

    return averaged


def _resize(image: jax.Array, size: Sequence[int], method: str) -> jax.Array:
    real = image if jnp.issubdtype(image.dtype, jnp.inexact) else image.astype(jnp.float32)
    return _to_dtype(jax.image.resize(real, (*size, image.shape[2]), method), image.dtype)


def _to_dtype(image: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Uint8 is rounded to the nearest level, and clipped."""
    return (
        image.astype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else jnp.clip(jnp.round(image), 0, 255).astype(dtype)
    )


def _fits(image: jax.Array, size: Size) -> tuple[int, int]:
    check_shapes(image=(image, "H W C"))
    height, width = target_size(size, "size")
    if not (1 <= height <= image.shape[0] and 1 <= width <= image.shape[1]):
        raise ValueError(f"size={size}: out of range; allowed: in [1, {image.shape[0]}] by [1, {image.shape[1]}]")
    return height, width
