"""Brightness, contrast, saturation, hue, gray and blur of one image [H, W, C] float in [0, 1], as torchvision's.

    blend(x, y, f) = clip(f x + (1 - f) y, 0, 1)
    brightness: y = 0.  contrast: y = the mean gray.  saturation: y = the gray of each pixel.  hue: rotated by `shift`

Gray is 0.2989 R + 0.587 G + 0.114 B. Saturation and hue leave images of one channel unchanged. `color_jitter` applies
the four in this order; torchvision applies them in a random order. The `adjust_` functions also take uint8 images and
return uint8.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_pair, check_whole_number
from dlcore.data.augment.compose import Augmentation
from dlcore.data.augment.tone import blend, keeps_uint8, real_pixels
from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "color_jitter",
    "gaussian_blur",
    "gray",
    "random_apply",
    "random_blur",
    "random_gray",
]

_GRAY = (0.2989, 0.587, 0.114)


def gray(image: jax.Array) -> jax.Array:
    """Convert an image to one gray channel.

    Args:
      image: [H, W, 3], float in [0, 1] or uint8 (gray values are then rounded down); [H, W, 1] is returned unchanged.

    Returns:
      [H, W, 1], with the dtype of the image.
    """
    image = jnp.asarray(image)
    _check_colors(image)
    if image.shape[-1] == 1:
        return image
    pixels, _ = real_pixels(image)
    red, green, blue = (pixels[..., i] * weight for i, weight in enumerate(_GRAY))
    return (red + green + blue)[..., None].astype(image.dtype)


def _check_colors(image: jax.Array) -> None:
    if image.ndim < 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"image.shape={image.shape}: no colors; allowed: [H, W, 3] or [H, W, 1]")


def adjust_brightness(image: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Multiply the image by a factor and clip it.

    Args:
      image: [H, W, C] in [0, 1], or uint8.
      factor: 1 leaves the image, 0 makes it black.

    Returns:
      The same shape and dtype.
    """
    return blend(image, 0.0, factor)


def adjust_contrast(image: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Change the contrast: blend the image with its mean gray.

    Args:
      image: [H, W, C] in [0, 1], or uint8.
      factor: 1 leaves the image, 0 gives the mean gray everywhere, above 1 raises the contrast.

    Returns:
      The same shape and dtype.
    """
    check_shapes(image=(image, "H W C"))
    pixels, _ = real_pixels(gray(image))
    return blend(image, pixels.mean(), factor)


def adjust_saturation(image: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Change the saturation: blend each pixel with its gray value.

    Args:
      image: [H, W, C] in [0, 1], or uint8.
      factor: 1 leaves the image, 0 makes it gray, above 1 raises the saturation.

    Returns:
      The same shape and dtype.
    """
    _check_colors(image)
    check_shapes(factor=(factor, ">= 0"))
    check_finite("factor", factor)
    return image if image.shape[-1] == 1 else blend(image, gray(image), factor)


@keeps_uint8
def adjust_hue(image: jax.Array, shift: float | jax.Array) -> jax.Array:
    """Rotate the hue of every pixel.

    Args:
      image: [H, W, C] in [0, 1], or uint8.
      shift: angle of the rotation as a fraction of the full circle; 0 leaves the image.

    Returns:
      The same shape and dtype.
    """
    check_shapes(shift=(shift, "finite"))
    _check_colors(image)
    if image.shape[-1] == 1:
        return image
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    value, low = image.max(-1), image.min(-1)
    chroma = value - low
    safe = jnp.where(chroma > 0, chroma, 1)
    sixth = jnp.where(value == r, (g - b) / safe, jnp.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sixth = (jnp.where(chroma > 0, sixth, 0) + 6 * shift) % 6
    # R, G and B are the same function of the hue, shifted by a third of the circle.
    k = (jnp.array([5.0, 3.0, 1.0], image.dtype) + sixth[..., None]) % 6
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


@keeps_uint8
def gaussian_blur(
    image: jax.Array, sigma: tuple[float | jax.Array, float | jax.Array], radius: tuple[int, int]
) -> jax.Array:
    """Blur an image by a Gaussian; the image is padded by reflection.

    Args:
      image: [H, W, C], float or uint8.
      sigma: (vertical, horizontal) standard deviation in pixels, above 0.
      radius: (vertical, horizontal) radius of the kernel, which has 2 radius + 1 pixels along each axis.

    Returns:
      [H, W, C] of the same dtype.
    """
    check_shapes(image=(image, "H W C"))
    check_pair("sigma", sigma)
    check_pair("radius", radius)
    for deviation, reach in zip(sigma, radius, strict=True):
        check_shapes(sigma=(deviation, "> 0"), radius=(reach, "int >= 0"))
    for axis in (0, 1):
        offset = jnp.arange(-radius[axis], radius[axis] + 1)
        weight = jax.nn.softmax(-0.5 * jnp.square(offset / sigma[axis]))
        width = [(radius[a], radius[a]) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(image, width, mode="reflect")
        size = image.shape[axis]
        image = sum(
            weight[i] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * radius[axis] + 1)
        )
    return image


def random_apply(augmentation: Augmentation, probability: float) -> Augmentation:
    """Build an augmentation that applies another one with a given probability, and else returns the image unchanged.

    Args:
      augmentation: `(key, image) -> image` of the same shape.
      probability: probability to apply it.

    Returns:
      `(key, image [H, W, C]) -> image`.

    Raises:
      TypeError: `augmentation` is not callable; call its factory first.
    """
    check_shapes(probability=(probability, "0 to 1"))

    if not callable(augmentation):
        raise TypeError(f"augmentation={augmentation!r}: not callable; allowed: a function (key, image) -> image")

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        decide, inner = jax.random.split(key)
        return jnp.where(jax.random.bernoulli(decide, probability), augmentation(inner, image), image)

    return apply


def color_jitter(
    brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
) -> Augmentation:
    """Build an augmentation that changes brightness, contrast, saturation and hue at random.

    Args:
      brightness: x; the factor of `adjust_brightness` is uniform in [max(0, 1 - x), 1 + x]. 0 skips this step.
      contrast: the same for `adjust_contrast`.
      saturation: the same for `adjust_saturation`.
      hue: h in [0, 0.5]; the hue shift is uniform in [-h, h], as a fraction of the circle.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    for name, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}.items():
        check_range(name, value, 0)
        check_shapes(**{name: (value, ">= 0")})
        if not 0 <= value < np.inf or (name == "hue" and value > 0.5):
            limits = "in [0, 0.5]" if name == "hue" else "at least 0"
            raise ValueError(f"{name}={value}: out of range; allowed: {limits}")
    spread = np.array([brightness, contrast, saturation], np.float32)

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        factors, turn = jax.random.split(key)
        f = jax.random.uniform(factors, (3,), minval=np.maximum(0, 1 - spread), maxval=1 + spread)
        image = adjust_brightness(image, f[0]) if brightness else image
        image = adjust_contrast(image, f[1]) if contrast else image
        image = adjust_saturation(image, f[2]) if saturation else image
        return adjust_hue(image, jax.random.uniform(turn, minval=-hue, maxval=hue)) if hue else image

    return apply


def random_gray(probability: float = 0.2) -> Augmentation:
    """Build an augmentation that replaces all channels by the gray value with a given probability.

    Args:
      probability: probability to convert to gray.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    return random_apply(lambda key, image: jnp.broadcast_to(gray(image), image.shape), probability)


def random_blur(sigma: tuple[float, float] = (0.1, 2.0), probability: float = 0.5, radius: int = 2) -> Augmentation:
    """Build an augmentation that blurs by a Gaussian with a given probability.

    Args:
      sigma: (low, high) of the standard deviation in pixels, drawn uniformly.
      probability: probability to blur.
      radius: radius of the kernel, which has 2 radius + 1 pixels along each axis.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_whole_number("radius", radius, 0)
    check_pair("sigma", sigma)
    if not 0 < sigma[0] <= sigma[1] < np.inf:
        raise ValueError(f"sigma={sigma}: invalid; allowed: a positive range")

    def blur(key: jax.Array, image: jax.Array) -> jax.Array:
        s = jax.random.uniform(key, minval=sigma[0], maxval=sigma[1])
        return gaussian_blur(image, (s, s), (radius, radius))

    return random_apply(blur, probability)
