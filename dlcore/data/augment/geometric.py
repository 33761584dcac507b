"""Random flips, crops, shifts and affine maps of one image: `(key, image [H, W, C]) -> image [H, W, C]`.

Affine maps send the pixel at p (relative to the image's center, x to the right and y down) to

    R(degrees) Shear(shear) scale p + t,   R(a) = [[cos a, sin a], [-sin a, cos a]],   Shear(s) = [[1, tan s], [0, 1]]

so that a positive angle rotates the displayed image counter-clockwise, as `np.rot90` does. Pixels are read by bilinear
interpolation at the inverse map; pixels outside the image are 0.
"""

import math

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice, check_pair, check_whole_number
from dlcore.data.augment.compose import Augmentation
from dlcore.data.augment.warp import affine_warp, warp_image
from dlcore.ops.checks import check_finite, check_shapes

__all__ = [
    "affine",
    "flip_horizontal",
    "flip_vertical",
    "random_affine",
    "random_crop",
    "random_flip",
    "random_shift",
    "random_vertical_flip",
]

_MODES = ("constant", "reflect", "edge")


def flip_horizontal(image: jax.Array) -> jax.Array:
    """Mirror left and right.

    Args:
      image: [..., H, W, C].

    Returns:
      The same shape.
    """
    check_shapes(image=(image, "... H W C"))
    return image[..., ::-1, :]


def flip_vertical(image: jax.Array) -> jax.Array:
    """Mirror top and bottom.

    Args:
      image: [..., H, W, C].

    Returns:
      The same shape.
    """
    check_shapes(image=(image, "... H W C"))
    return image[..., ::-1, :, :]


def random_flip(probability: float = 0.5) -> Augmentation:
    """Build an augmentation that mirrors left and right at random.

    Args:
      probability: probability to mirror.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    return _sometimes(flip_horizontal, probability)


def random_vertical_flip(probability: float = 0.5) -> Augmentation:
    """Build an augmentation that mirrors top and bottom at random.

    Args:
      probability: probability to mirror.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    return _sometimes(flip_vertical, probability)


def random_crop(padding: int, mode: str = "constant") -> Augmentation:
    """Build an augmentation that pads every side and cuts a window of the image's size at a random position.

    Args:
      padding: pixels added to every side.
      mode: values of the padding: "constant" (0), "reflect" (mirrored, the edge not repeated) or "edge" (repeated).

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_whole_number("padding", padding, 0)
    check_choice("mode", mode, _MODES)

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        check_shapes(image=(image, "H W C"))
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

    return apply


def random_shift(max_pixels: int) -> Augmentation:
    """Build an augmentation that moves the image by a random number of whole pixels; the vacated pixels are 0.

    Args:
      max_pixels: largest move; the moves down and to the right are uniform in [-max_pixels, max_pixels].

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_whole_number("max_pixels", max_pixels, 0)
    return random_crop(max_pixels, "constant")


def random_affine(
    degrees: float | tuple[float, float] = 0.0,
    translate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float | tuple[float, float] = 0.0,
) -> Augmentation:
    """Build an augmentation that rotates, shears, scales and moves the image by amounts drawn uniformly.

    Args:
      degrees: (low, high) of the rotation in degrees, counter-clockwise; a number d stands for (-d, d).
      translate: largest move in each direction, as a fraction of the height and of the width.
      scale: (low, high) of the scale factor; above 1 enlarges.
      shear: (low, high) of the horizontal shear angle in degrees, inside (-90, 90); a number s stands for (-s, s).

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    degrees, shear = _interval("degrees", degrees), _interval("shear", shear)
    check_pair("scale", scale)
    check_finite("translate", translate)
    check_shapes(translate=(translate, ">= 0"))
    scale = _interval("scale", (scale[0], scale[1]))
    if scale[0] <= 0:
        raise ValueError(f"scale={scale}: out of range; allowed: positive")
    if not -90 < shear[0] <= shear[1] < 90:
        raise ValueError(f"shear={shear}: out of range; allowed: degrees inside (-90, 90)")

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        low = jnp.array([degrees[0], -translate, -translate, scale[0], shear[0]], jnp.float32)
        high = jnp.array([degrees[1], translate, translate, scale[1], shear[1]], jnp.float32)
        params = low + (high - low) * jax.random.uniform(key, (5,))
        down, right = params[1] * image.shape[0], params[2] * image.shape[1]
        return affine(image, params[0], (down, right), params[3], params[4])

    return apply


def affine(
    image: jax.Array,
    degrees: float | jax.Array = 0.0,
    translate: tuple[float | jax.Array, float | jax.Array] = (0.0, 0.0),
    scale: float | jax.Array | tuple = 1.0,
    shear: float | jax.Array | tuple = 0.0,
) -> jax.Array:
    """Apply an affine map to an image; all numbers may be traced.

    Args:
      image: [H, W, C].
      degrees: angle of the rotation in degrees, counter-clockwise.
      translate: (down, right) in pixels.
      scale: one scale factor, or (horizontal, vertical).
      shear: angle of the horizontal shear in degrees, or (horizontal, vertical).

    Returns:
      [H, W, C], 0 where the map reads outside the image.
    """
    check_shapes(image=(image, "H W C"))
    check_pair("translate", translate)
    down, right = translate
    return warp_image(image, affine_warp(image.shape[:2], degrees, (right, down), scale, shear))


def _sometimes(function, probability: float) -> Augmentation:
    check_shapes(probability=(probability, "0 to 1"))

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        check_shapes(image=(image, "H W C"))
        return jnp.where(jax.random.bernoulli(key, probability), function(image), image)

    return apply


def _interval(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(value, tuple | list):
        check_pair(name, value)
        low, high = value
    else:
        check_finite(name, value)
        check_shapes(**{name: (value, "finite")})
        low, high = -abs(value), abs(value)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{name}={value}: invalid; allowed: finite, a number or (low, high) with low <= high")
    return float(low), float(high)
