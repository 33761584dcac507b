"""Augmentations that hide part of an image: resized crops, erased rectangles, noise. `(key, image [H, W, C]) -> image`.

A box has area s H W and aspect ratio r (width over height), s uniform and r log-uniform in their ranges. It is clipped
to the height and width of the image (torchvision draws again instead), and its position is uniform.
Szegedy et al. 2014, arXiv:1409.4842 (crops); Zhong et al. 2017, arXiv:1708.04896 (erasing); DeVries & Taylor 2017,
arXiv:1708.04552 (cutout: one square of a fixed side, which there may lie partly outside).
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_pair, check_whole_number
from dlcore.data.augment.compose import Augmentation
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["cutout", "erase", "gaussian_noise", "random_erasing", "random_resized_crop"]

Span = tuple[float, float]


def _check(area: Span, ratio: Span) -> None:
    check_pair("area", area)
    check_pair("ratio", ratio)
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"area={area}: invalid; allowed: a range inside (0, 1]")
    if not 0 < ratio[0] <= ratio[1] < np.inf:
        raise ValueError(f"ratio={ratio}: invalid; allowed: a positive range")


def _box(key: jax.Array, shape: tuple[int, ...], area: Span, ratio: Span) -> tuple[jax.Array, ...]:
    """Draw (top, left, height, width) of a box in pixels, not rounded."""
    keys = jax.random.split(key, 3)
    rows, columns = shape[:2]
    pixels = rows * columns * jax.random.uniform(keys[0], minval=area[0], maxval=area[1])
    aspect = jnp.exp(jax.random.uniform(keys[1], minval=jnp.log(ratio[0]), maxval=jnp.log(ratio[1])))
    height, width = jnp.minimum(jnp.sqrt(pixels / aspect), rows), jnp.minimum(jnp.sqrt(pixels * aspect), columns)
    position = jax.random.uniform(keys[2], (2,))
    return position[0] * (rows - height), position[1] * (columns - width), height, width


def random_resized_crop(area: Span = (0.2, 1.0), ratio: Span = (3 / 4, 4 / 3), side: int | None = None) -> Augmentation:
    """Build an augmentation that crops a random box and resizes it bilinearly.

    Args:
      area: (low, high) of the box's area as a fraction of the image's, inside (0, 1].
      ratio: (low, high) of the box's width over its height.
      side: side of the square result in pixels; None keeps the image's height and width.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    _check(area, ratio)
    if side is not None:
        check_whole_number("side", side, 1)

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        check_shapes(image=(image, "H W C"))
        real = image.dtype if jnp.issubdtype(image.dtype, jnp.inexact) else jnp.float32
        top, left, height, width = _box(key, image.shape, area, ratio)
        shape = image.shape if side is None else (side, side, image.shape[-1])
        scale = jnp.stack([shape[0] / height, shape[1] / width])
        translation = -jnp.stack([top, left]) * scale
        crop = jax.image.scale_and_translate(
            image.astype(real), shape, (0, 1), scale.astype(real), translation.astype(real), "linear", False
        )
        return crop if real == image.dtype else jnp.clip(jnp.round(crop), 0, 255).astype(image.dtype)

    return apply


def random_erasing(probability: float = 0.5, area: Span = (0.02, 0.33), ratio: Span = (0.3, 3.3)) -> Augmentation:
    """Build an augmentation that sets a random box of pixels to 0 with a given probability.

    Args:
      probability: probability to erase.
      area: (low, high) of the box's area as a fraction of the image's, inside (0, 1].
      ratio: (low, high) of the box's width over its height.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    _check(area, ratio)
    check_shapes(probability=(probability, "0 to 1"))

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        check_shapes(image=(image, "H W C"))
        decide, position = jax.random.split(key)
        top, left, height, width = _box(position, image.shape, area, ratio)
        y, x = jnp.arange(image.shape[0])[:, None] + 0.5, jnp.arange(image.shape[1])[None] + 0.5
        inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
        return jnp.where(inside[..., None] & jax.random.bernoulli(decide, probability), 0, image)

    return apply


def erase(
    image: jax.Array,
    top: int | jax.Array,
    left: int | jax.Array,
    height: int | jax.Array,
    width: int | jax.Array,
    value: float | jax.Array = 0.0,
) -> jax.Array:
    """Set a box of pixels to a value; the part of the box outside the image is ignored.

    Args:
      image: [H, W, C].
      top: first row of the box.
      left: first column of the box.
      height: height of the box in pixels.
      width: width of the box in pixels.
      value: new value of the pixels, a number or [C].

    Returns:
      [H, W, C].
    """
    check_shapes(image=(image, "H W C"), value=(value, "C finite" if np.ndim(value) else "finite"))
    check_shapes(top=(top, "finite"), left=(left, "finite"), height=(height, ">= 0"), width=(width, ">= 0"))
    is_known_integer = jnp.issubdtype(image.dtype, jnp.integer) and not isinstance(value, jax.core.Tracer)
    if is_known_integer and (np.asarray(value).astype(image.dtype) != value).any():
        raise ValueError(f"value={value}: no {image.dtype}; allowed: whole numbers that it holds")
    y, x = jnp.arange(image.shape[0])[:, None], jnp.arange(image.shape[1])[None]
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    return jnp.where(inside[..., None], jnp.asarray(value, image.dtype), image)


def cutout(size: int, partly_outside: bool = False, value: float = 0.0) -> Augmentation:
    """Build an augmentation that sets one square to a value.

    Args:
      size: side of the square, in pixels.
      partly_outside: center the square on any pixel, as in the paper, so that the border may clip it; False keeps it
        inside the image.
      value: new value of the pixels; 0 is the mean of normalized images.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_shapes(size=(size, "int >= 1"), value=(value, "finite"))

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        sides = jnp.array(image.shape[:2])
        if partly_outside:
            corner = jax.random.randint(key, (2,), 0, sides) - size // 2
        elif size > min(image.shape[:2]):
            raise ValueError(f"size={size}: out of range; allowed: at most {min(image.shape[:2])}, the shorter side")
        else:
            corner = jax.random.randint(key, (2,), 0, sides - size + 1)
        return erase(image, corner[0], corner[1], size, size, value)

    return apply


def gaussian_noise(std: float = 0.1) -> Augmentation:
    """Build an augmentation that adds independent normal noise to every value, without clipping.

    Args:
      std: standard deviation of the noise.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_finite("std", std)
    check_shapes(std=(std, ">= 0"))

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise ValueError(f"image.dtype={image.dtype}: no floats to add noise to; allowed: floating dtypes")
        noise = jax.random.normal(key, image.shape, acc_dtype_of(image))
        return (image + std * noise).astype(image.dtype)

    return apply
