"""Tone adjustments of one image [H, W, C], float in [0, 1] or uint8, as torchvision's.

    invert: 1 - x                      solarize: 1 - x where x >= threshold
    posterize: floor(2^b x) / 2^b, at most 1 - 2^-b; of uint8 the b high bits
    gamma: gain x^gamma                autocontrast: each channel from its least and greatest value to 0, 1
    equalize: each channel through its own cumulative histogram of 256 levels
    sharpness: clip(f x + (1 - f) y, 0, 1), y smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13 off the border

uint8 images come back as uint8. Operations that blend two images (sharpness here; brightness, contrast and saturation
in `jitter`) compute in levels from 0 to 255 and round down, as torchvision does; the others round to the nearest level
where torchvision rounds down. All results are within one level of torchvision's.
"""

import functools
from collections.abc import Callable
from numbers import Real

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.data.augment.color import to_float
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "adjust_gamma",
    "adjust_sharpness",
    "autocontrast",
    "blend",
    "equalize",
    "invert",
    "keeps_uint8",
    "posterize",
    "real_pixels",
    "solarize",
]

Number = float | jax.Array


def keeps_uint8(function: Callable) -> Callable:
    """Extend a function of float32 images in [0, 1] to uint8 and halves: convert, apply, go back (bytes are rounded).

    Args:
      function: (image [H, W, C] in [0, 1], ...) -> image.

    Returns:
      The extended function; it raises TypeError for dtypes other than float and uint8.
    """

    @functools.wraps(function)
    def wrapped(image: jax.Array, *arguments, **named) -> jax.Array:
        image = jnp.asarray(image)
        if jnp.issubdtype(image.dtype, jnp.inexact):
            return function(to_acc_dtype(image), *arguments, **named).astype(image.dtype)
        return _to_uint8(function(to_float(image), *arguments, **named))

    return wrapped


def real_pixels(image: jax.Array) -> tuple[jax.Array, int]:
    """Convert pixels to floats without rescaling them.

    Args:
      image: any shape, uint8 in [0, 255] or floating in [0, 1].

    Returns:
      (pixels, white): the same values, at least float32, and the value of white, 255 or 1.

    Raises:
      TypeError: `image` is neither uint8 nor floating.
    """
    image = jnp.asarray(image)
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32), 255
    return to_acc_dtype(to_float(image)), 1


def blend(image: jax.Array, other: jax.Array | float, factor: Number) -> jax.Array:
    """Blend two images by f x + (1 - f) y and clip; uint8 results are rounded down.

    Args:
      image: x, any shape, float in [0, 1] or uint8.
      other: y, uint8 or floating on the same scale as `image`, of a shape that broadcasts to it.
      factor: f, at least 0; 1 leaves the image.

    Returns:
      The shape and dtype of `image`.
    """
    check_shapes(factor=(factor, ">= 0"))
    check_finite("factor", factor)
    pixels, white = real_pixels(image)
    other = jnp.asarray(other, pixels.dtype)
    if white == 1:
        mixed = factor * pixels + (1 - factor) * other
    else:
        mixed = _rounded_product(factor, pixels) + _rounded_product(1 - factor, other)
    return jnp.clip(mixed, 0, white).astype(image.dtype)


@keeps_uint8
def invert(image: jax.Array) -> jax.Array:
    """Invert values: 1 - x.

    Args:
      image: [H, W, C], float in [0, 1] or uint8.

    Returns:
      The same shape and dtype.
    """
    return 1 - image


@keeps_uint8
def solarize(image: jax.Array, threshold: Number) -> jax.Array:
    """Invert values at or above a threshold.

    Args:
      image: [H, W, C], float in [0, 1] or uint8.
      threshold: threshold on the [0, 1] scale, also for uint8.

    Returns:
      The same shape and dtype.
    """
    check_shapes(threshold=(threshold, "0 to 1"))
    return jnp.where(image >= threshold, 1 - image, image)


def posterize(image: jax.Array, bits: int | jax.Array) -> jax.Array:
    """Reduce values to 2^bits levels.

    Args:
      image: [H, W, C], float in [0, 1] or uint8.
      bits: number of bits in [0, 8]; may be traced.

    Returns:
      The same shape and dtype.
    """
    check_shapes(bits=(bits, "0 to 8"))
    if isinstance(bits, Real):
        check_whole_number("bits", bits)
    image = jnp.asarray(image)
    if image.dtype == jnp.uint8:
        shift = jnp.asarray(8 - bits, jnp.int32)
        return (image.astype(jnp.int32) >> shift << shift).astype(jnp.uint8)
    levels = jnp.asarray(2.0, image.dtype) ** bits
    return (jnp.clip(jnp.floor(image * levels), 0, levels - 1) / levels).astype(image.dtype)


@keeps_uint8
def adjust_gamma(image: jax.Array, gamma: Number, gain: Number = 1.0) -> jax.Array:
    """Raise values to a power, gain x^gamma, clipped to [0, 1].

    Args:
      image: [H, W, C], float in [0, 1] or uint8.
      gamma: exponent; 1 leaves the image.
      gain: factor.

    Returns:
      The same shape and dtype.
    """
    check_shapes(gamma=(gamma, ">= 0"), gain=(gain, ">= 0"))
    check_shapes(gamma=(gamma, "finite"), gain=(gain, "finite"))
    return jnp.clip(gain * image**gamma, 0, 1).astype(image.dtype)


@keeps_uint8
def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel to [0, 1]; a constant channel stays unchanged.

    Args:
      image: [H, W, C], float in [0, 1] or uint8.

    Returns:
      The same shape and dtype.
    """
    check_shapes(image=(image, "H W C"))
    low, high = image.min((0, 1)), image.max((0, 1))
    flat = high <= low
    return jnp.where(flat, image, (image - low) / jnp.where(flat, 1, high - low))


def equalize(image: jax.Array) -> jax.Array:
    """Equalize the histogram of each channel on 256 levels, as PIL and torchvision do.

    With n_v pixels of level v and s = floor((pixels - those of the highest level) / 255), level v becomes
    floor((sum_{u < v} n_u + floor(s / 2)) / s); where s is 0 nothing changes.

    Args:
      image: [H, W, C], float in [0, 1] or uint8.

    Returns:
      The same shape and dtype.
    """
    check_shapes(image=(image, "H W C finite"))
    image = jnp.asarray(image)
    if image.dtype != jnp.uint8:
        return (equalize(_to_uint8(to_acc_dtype(image), floor=True)) / 255).astype(image.dtype)

    def channel(plane: jax.Array) -> jax.Array:
        level = plane.astype(jnp.int32)
        counts = jnp.zeros(256, jnp.int32).at[level].add(1)
        below = jnp.cumsum(counts) - counts
        step = below[level.max()] // 255
        table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step == 0, level, table[level]).astype(jnp.uint8)

    return jax.vmap(channel, -1, -1)(image)


def adjust_sharpness(image: jax.Array, factor: Number) -> jax.Array:
    """Change the sharpness: blend the image with a smoothed copy.

    Images with a side under three pixels are returned unchanged.

    Args:
      image: [H, W, C], float in [0, 1] or uint8.
      factor: 1 leaves the image, 0 gives the smoothed one, above 1 sharpens.

    Returns:
      The same shape and dtype.
    """
    check_shapes(image=(image, "H W C"), factor=(factor, ">= 0"))
    check_finite("factor", factor)
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    image = jnp.asarray(image)
    pixels, white = real_pixels(image)
    windows = [pixels[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
    inner = (sum(windows) + 4 * pixels[1:-1, 1:-1]) / 13
    return blend(image, pixels.at[1:-1, 1:-1].set(inner if white == 1 else jnp.round(inner)), factor)


def _rounded_product(factor: Number, levels: jax.Array) -> jax.Array:
    """Multiply levels by a factor and round, as torchvision does, also where the compiler fuses products with sums.

    Without rounding, 1.9 x - 0.9 x is x; with it, it is often less by 1e-5, and x - 1 when fractions are cut off. Each
    half of the factor has 12 binary digits, so that its product with a level of 8 digits is exact.
    """
    factor = jnp.asarray(factor, jnp.float32)
    bits = jax.lax.bitcast_convert_type(factor, jnp.int32)
    high = jax.lax.bitcast_convert_type(bits & ~0xFFF, jnp.float32)
    return high * levels + (factor - high) * levels


def _to_uint8(image: jax.Array, floor: bool = False) -> jax.Array:
    scaled = image * 255
    # torch's float-to-uint8: floor(x (255 + 1 - 1e-3)).
    scaled = jnp.floor(image * (256 - 1e-3)) if floor else jnp.round(scaled)
    return jnp.clip(scaled, 0, 255).astype(jnp.uint8)
