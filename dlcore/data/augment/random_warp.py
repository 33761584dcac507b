"""Random geometric maps of an image; `warp_example` in `examples` moves boxes, masks and keypoints by the same map.

Rotation, translation, scaling, stretch, shear, mirror, perspective and lens distortion, in any combination. Each is
drawn uniformly from its range (scale and stretch log-uniformly), and all are composed to one map, so that the image is
interpolated once.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice, check_pair
from dlcore.data.augment.compose import Augmentation
from dlcore.data.augment.warp import Warp, affine_warp, flip_warp, lens_warp, perspective_warp, warp_image
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["RandomWarp", "random_lens", "random_perspective", "random_warp", "warp_augmentation"]

RandomWarp = Callable[[jax.Array, tuple[int, int]], Warp]
"""(key, size (H, W)) -> Warp."""


def random_warp(
    degrees: float = 0.0,
    translate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    stretch: float = 1.0,
    shear: float = 0.0,
    flip: float = 0.0,
    perspective: float = 0.0,
    lens: float = 0.0,
) -> RandomWarp:
    """Build a function that draws random geometric maps; `warp_augmentation` and `warp_example` apply them.

    Args:
      degrees: largest angle of the rotation in degrees; the angle is uniform in [-degrees, degrees].
      translate: largest move in each direction, as a fraction of the height and of the width.
      scale: (low, high) of the scale factor, log-uniform.
      stretch: largest change of the aspect ratio, a factor of 1 or more, log-uniform in [1 / stretch, stretch].
      shear: largest angle of the horizontal and of the vertical shear in degrees, in [0, 89.9].
      flip: probability to mirror left and right.
      perspective: largest move of each corner inward, as a fraction of half of each side, in [0, 0.999].
      lens: largest |k1| of the lens distortion, in [0, 0.3].

    Returns:
      (key, size (H, W)) -> Warp.
    """
    for name, value, low, high in (
        ("degrees", degrees, 0, math.inf),
        ("translate", translate, 0, math.inf),
        ("stretch", stretch, 1, math.inf),
        ("shear", shear, 0, 89.9),
        ("flip", flip, 0, 1),
        ("perspective", perspective, 0, 0.999),
        ("lens", lens, 0, 0.3),
    ):
        check_finite(name, value)
        check_shapes(**{name: (value, "finite")})
        if not low <= value <= high or value == math.inf:
            raise ValueError(f"{name}={value}: out of range; allowed: in [{low}, {high}]")
    check_pair("scale", scale)
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise ValueError(f"scale={scale}: invalid; allowed: a positive range (low, high)")

    def draw(key: jax.Array, size: tuple[int, int]) -> Warp:
        keys = jax.random.split(key, 4)
        turn, right, down, zoom, ratio, sx, sy = jax.random.uniform(keys[0], (7,), minval=-1)
        factor = jnp.exp(jnp.log(scale[0]) + (zoom + 1) / 2 * jnp.log(scale[1] / scale[0]))
        stretch_x = jnp.exp(ratio * math.log(stretch) / 2)
        warp = affine_warp(
            size,
            turn * degrees,
            (right * translate * size[1], down * translate * size[0]),
            (factor * stretch_x, factor / stretch_x),
            (sx * shear, sy * shear),
        )
        if flip:
            warp = flip_warp(size, jax.random.bernoulli(keys[1], flip)).then(warp)
        if perspective:
            inward = jax.random.uniform(keys[2], (4, 2)) * perspective * jnp.array([size[1], size[0]]) / 2
            corner = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
            start = corner * jnp.array([size[1], size[0]])
            warp = warp.then(perspective_warp(start, start + inward * (1 - 2 * corner)))
        if lens:
            warp = warp.then(lens_warp(size, jax.random.uniform(keys[3], minval=-lens, maxval=lens)))
        return warp

    return draw


def random_perspective(distortion: float = 0.5) -> RandomWarp:
    """Build a function that draws random perspective maps, as torchvision's RandomPerspective.

    Args:
      distortion: strength in [0, 0.999]; corners move inward by at most distortion / 2 of each side.

    Returns:
      (key, size (H, W)) -> Warp.
    """
    return random_warp(perspective=distortion)


def random_lens(k1: float = 0.3) -> RandomWarp:
    """Build a function that draws random barrel and pincushion distortions.

    Args:
      k1: largest |k1| of the lens distortion, in [0, 0.3]; the coefficient is uniform in [-k1, k1].

    Returns:
      (key, size (H, W)) -> Warp.
    """
    return random_warp(lens=k1)


def warp_augmentation(draw: RandomWarp, interpolation: str = "bilinear", fill: float | None = None) -> Augmentation:
    """Build an augmentation that warps an image by a random map.

    Args:
      draw: sampler of maps, from `random_warp`.
      interpolation: bilinear or nearest.
      fill: value of pixels from outside the image; None is 0.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_choice("interpolation", interpolation, ("bilinear", "nearest"))
    check_shapes(fill=(fill, "finite or None"))
    return lambda key, image: warp_image(image, draw(key, image.shape[:2]), interpolation, fill)
