"""Color histograms: how many pixels have each color, wherever they are.

Swain & Ballard 1991, "Color indexing", IJCV 7; HSV: Smith 1978.

    h[b] = number of pixels whose color falls into bin b

Jointly over the channels (bins^C numbers, as in the paper), or channel by channel (C bins). Positions are discarded:
any permutation of the pixels has the same histogram.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.augment import to_float
from dlcore.ops.checks import check_finite

__all__ = ["color_histogram", "rgb_to_hsv", "rgb_to_lab"]

_RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
"""Of sRGB, under daylight (D65, 2 degrees)."""


def color_histogram(
    images: jax.Array,
    bins: int = 8,
    *,
    space: Literal["given", "hsv"] = "given",
    joint: bool = True,
    normalize: bool = True,
) -> jax.Array:
    """Count pixels by color; values outside [0, 1] count in the first and the last bin.

    Args:
      images: [N, H, W, C] in [0, 1], or uint8.
      bins: per channel.
      space: "hsv" converts RGB to hue, saturation and value first; "given" does not.
      joint: one histogram over all channels, the last channel fastest; False concatenates one per channel.
      normalize: divide by H W, so that a joint histogram, or each channel's, sums to 1.

    Returns:
      [N, bins^C] if joint, else [N, C bins].
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images.shape={images.shape}: not an image batch; allowed: [N, H, W, C], none of them 0")
    check_whole_number("bins", bins, 1)
    check_choice("space", space, ("given", "hsv"))
    if jnp.issubdtype(images.dtype, jnp.floating):
        check_finite("images", images)
    elif images.dtype != jnp.uint8:
        raise ValueError(f"images.dtype={images.dtype}: wrong dtype; allowed: uint8, or floating in [0, 1]")
    return _histogram(rgb_to_hsv(to_float(images)) if space == "hsv" else jnp.asarray(images), bins, joint, normalize)


@jax.jit
def rgb_to_hsv(images: jax.Array) -> jax.Array:
    """Convert RGB to HSV.

    Args:
      images: [..., 3], RGB in [0, 1], or uint8.

    Returns:
      [..., 3] in [0, 1]: hue (0 red, 1/3 green, 2/3 blue; 0 for gray), saturation and value.
    """
    if images.shape[-1] != 3:
        raise ValueError(f"images.shape={images.shape}: not RGB; allowed: [..., 3]")
    images = to_float(images)
    r, g, b = jnp.moveaxis(images, -1, 0)
    value = images.max(-1)
    chroma = value - images.min(-1)
    safe = jnp.where(chroma > 0, chroma, 1)
    hue = jnp.where(value == r, (g - b) / safe, jnp.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue = jnp.where(chroma > 0, hue / 6 % 1, 0)
    return jnp.stack([hue, chroma / jnp.where(value > 0, value, 1), value], -1)


@jax.jit
def rgb_to_lab(images: jax.Array) -> jax.Array:
    """Convert sRGB to CIE L*a*b*, in which equal distances look alike.

    Args:
      images: [..., 3], RGB in [0, 1], or uint8.

    Returns:
      [..., 3]: lightness in [0, 100], green to red and blue to yellow (about -128 to 127; 0 for gray).
    """
    if images.shape[-1] != 3:
        raise ValueError(f"images.shape={images.shape}: not RGB; allowed: [..., 3]")
    images = to_float(images)
    linear = jnp.where(images > 0.04045, (jnp.maximum(images, 0.04045) + 0.055) ** 2.4 / 1.055**2.4, images / 12.92)
    matrix = jnp.asarray(_RGB_TO_XYZ, linear.dtype) / jnp.asarray(_WHITE, linear.dtype)[:, None]
    xyz = jnp.matmul(linear, matrix.T, precision=jax.lax.Precision.HIGHEST)
    x, y, z = jnp.moveaxis(
        jnp.where(xyz > 0.008856, jnp.cbrt(jnp.maximum(xyz, 0.008856)), 7.787 * xyz + 16 / 116), -1, 0
    )
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _histogram(images, bins, joint, normalize):
    n, height, width, channels = images.shape
    if images.dtype == jnp.uint8:
        bin_of = images.astype(jnp.int32) * bins // 256
    else:
        bin_of = jnp.clip(jnp.floor(images * bins).astype(jnp.int32), 0, bins - 1)
    if joint:
        index = (bin_of * bins ** jnp.arange(channels - 1, -1, -1)).sum(-1).reshape(n, -1)
        length = bins**channels
    else:
        index = (bin_of + bins * jnp.arange(channels)).reshape(n, -1)
        length = bins * channels
    counts = jnp.zeros((n, length), jnp.float32).at[jnp.arange(n)[:, None], index].add(1)
    return counts / (height * width) if normalize else counts
