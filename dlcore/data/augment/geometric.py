"""Random flips, crops, shifts and affine maps of one image: `(key, image [H, W, C]) -> image [H, W, C]`.

Affine maps send the pixel at p (relative to the image's center, x to the right and y down) to

    R(degrees) Shear(shear) scale p + t,   R(a) = [[cos a, sin a], [-sin a, cos a]],   Shear(s) = [[1, tan s], [0, 1]]

so that a positive angle turns counter-clockwise as seen, as `np.rot90` does. Pixels are read by bilinear
interpolation at the inverse map; what lies outside the image is 0.
"""

import math

import jax
import jax.numpy as jnp

from dlcore.data.augment.compose import Augmentation
from dlcore.data.augment.warp import affine_warp, warp_image

__all__ = [
    "affine", "flip_horizontal", "flip_vertical", "random_affine", "random_crop", "random_flip", "random_shift",
    "random_vertical_flip",
]  # fmt: skip

_MODES = ("constant", "reflect", "edge")


def flip_horizontal(image: jax.Array) -> jax.Array:
    """`image: [..., H, W, C]` mirrored left and right."""
    return image[..., ::-1, :]


def flip_vertical(image: jax.Array) -> jax.Array:
    """`image: [..., H, W, C]` upside down."""
    return image[..., ::-1, :, :]


def random_flip(probability: float = 0.5) -> Augmentation:
    """Mirror left and right with the given probability.

    Raises: ValueError for a probability outside [0, 1].
    """
    return _sometimes(flip_horizontal, probability)


def random_vertical_flip(probability: float = 0.5) -> Augmentation:
    """Turn upside down by a mirror with the given probability. Raises: as `random_flip`."""
    return _sometimes(flip_vertical, probability)


def random_crop(padding: int, mode: str = "constant") -> Augmentation:
    """Pad every side by `padding` pixels and cut a window of the image's own size, uniformly of all there are.

    mode: what the border holds: "constant" (0), "reflect" (mirrored, the edge not repeated) or "edge".

    Raises: ValueError for a negative padding or another mode.
    """
    if padding < 0:
        raise ValueError(f"padding is {padding}; it must not be negative")
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}; allowed are {_MODES}")

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

    return apply


def random_shift(max_pixels: int) -> Augmentation:
    """Move by whole pixels, uniform in [-max_pixels, max_pixels] down and to the right alike; 0 comes in at the edge.

    Raises: ValueError for a negative max_pixels.
    """
    if max_pixels < 0:
        raise ValueError(f"max_pixels is {max_pixels}; it must not be negative")
    return random_crop(max_pixels, "constant")


def random_affine(
    degrees: float | tuple[float, float] = 0.0,
    translate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float | tuple[float, float] = 0.0,
) -> Augmentation:
    """Rotate, shear, scale and move, each drawn uniformly from its range.

    degrees: the rotation, counter-clockwise; a number d stands for (-d, d).
    translate: the largest move either way, as a fraction of the height and of the width.
    scale: (low, high) of the factor; above 1 enlarges.
    shear: the angle of the horizontal shear in degrees, inside (-90, 90); a number s stands for (-s, s).

    Raises: ValueError naming the argument that is out of range.
    """
    degrees, shear = _interval("degrees", degrees), _interval("shear", shear)
    scale = _interval("scale", (scale[0], scale[1]))
    if not 0 <= translate < math.inf:
        raise ValueError(f"translate is {translate}; it must be finite and not negative")
    if scale[0] <= 0:
        raise ValueError(f"scale is {scale}; it must be positive")
    if not -90 < shear[0] <= shear[1] < 90:
        raise ValueError(f"shear is {shear} degrees; it must be inside (-90, 90)")

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        low = jnp.array([degrees[0], -translate, -translate, scale[0], shear[0]], jnp.float32)
        high = jnp.array([degrees[1], translate, translate, scale[1], shear[1]], jnp.float32)
        drawn = low + (high - low) * jax.random.uniform(key, (5,))
        down, right = drawn[1] * image.shape[0], drawn[2] * image.shape[1]
        return affine(image, drawn[0], (down, right), drawn[3], drawn[4])

    return apply


def affine(
    image: jax.Array,
    degrees: float | jax.Array = 0.0,
    translate: tuple[float | jax.Array, float | jax.Array] = (0.0, 0.0),
    scale: float | jax.Array | tuple = 1.0,
    shear: float | jax.Array | tuple = 0.0,
) -> jax.Array:
    """The affine map above of `image: [H, W, C]`; numbers may be traced, `translate` is (down, right) pixels.

    scale: one factor, or (across, down) to stretch. shear: degrees across, or (across, down).
    """
    down, right = translate
    return warp_image(image, affine_warp(image.shape[:2], degrees, (right, down), scale, shear))


def _sometimes(function, probability: float) -> Augmentation:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; it must be in [0, 1]")
    return lambda key, image: jnp.where(jax.random.bernoulli(key, probability), function(image), image)


def _interval(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple | list) else (-abs(value), abs(value))
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{name} is {value}; it must be finite, as a number or (low, high) with low <= high")
    return float(low), float(high)
