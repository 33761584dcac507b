"""RandAugment and AutoAugment: a few operations drawn for each example, inside jit.

Cubuk, Zoph, Shlens & Le 2019, arXiv:1909.13719 (RandAugment: N operations, all of one strength); Cubuk, Zoph, Mane,
Vasudevan & Le 2018, arXiv:1805.09501 (AutoAugment: one of 25 learned pairs, each operation with its own probability and
strength; the tables are those of the paper's appendix, as torchvision has them).

With s in [0, 1] and a sign +-1 drawn with equal chance:

    shear x, y:        -+0.3 s, about the corner          brightness, color, contrast, sharpness: factor 1 +- 0.9 s
    translate x, y:    +-150/331 s of the side            posterize: 8 - round(4 s) bits
    rotate:            +-30 s degrees                     solarize: threshold 1 - s

autocontrast, equalize and invert have no strength. With s = 0 every operation is the identity here, these three
included (in torchvision solarize of strength 0 turns white to black). The geometric operations share one warp, since
under vmap every branch is computed for every example.
"""

from numbers import Real
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.data.augment import tone
from dlcore.data.augment.compose import Augmentation
from dlcore.data.augment.jitter import adjust_brightness, adjust_contrast, adjust_saturation
from dlcore.data.augment.warp import affine_warp, warp_image
from dlcore.ops.checks import check_finite, check_indices, check_shapes

__all__ = ["OPERATIONS", "POLICIES", "apply_operation", "auto_augment", "rand_augment"]

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
)
_GEOMETRIC = 6

POLICIES = {
    "imagenet": """
        posterize .4 8 rotate .6 9, solarize .6 5 autocontrast .6 -, equalize .8 - equalize .6 -,
        posterize .6 7 posterize .6 6, equalize .4 - solarize .2 4, equalize .4 - rotate .8 8,
        solarize .6 3 equalize .6 -, posterize .8 5 equalize 1 -, rotate .2 3 solarize .6 8,
        equalize .6 - posterize .4 6, rotate .8 8 color .4 0, rotate .4 9 equalize .6 -, equalize 0 - equalize .8 -,
        invert .6 - equalize 1 -, color .6 4 contrast 1 8, rotate .8 8 color 1 2, color .8 8 solarize .8 7,
        sharpness .4 7 invert .6 -, shear_x .6 5 equalize 1 -, color .4 0 equalize .6 -, equalize .4 - solarize .2 4,
        solarize .6 5 autocontrast .6 -, invert .6 - equalize 1 -, color .6 4 contrast 1 8, equalize .8 - equalize .6 -
    """,
    "cifar10": """
        invert .1 - contrast .2 6, rotate .7 2 translate_x .3 9, sharpness .8 1 sharpness .9 3,
        shear_y .5 8 translate_y .7 9, autocontrast .5 - equalize .9 -, shear_y .2 7 posterize .3 7,
        color .4 3 brightness .6 7, sharpness .3 9 brightness .7 9, equalize .6 - equalize .5 -,
        contrast .6 7 sharpness .6 5, color .7 7 translate_x .5 8, equalize .3 - autocontrast .4 -,
        translate_y .4 3 sharpness .2 6, brightness .9 6 color .2 8, solarize .5 2 invert 0 -,
        equalize .2 - autocontrast .6 -, equalize .2 - equalize .6 -, color .9 9 equalize .6 -,
        autocontrast .8 - solarize .2 8, brightness .1 3 color .7 0, solarize .4 5 autocontrast .9 -,
        translate_y .9 9 translate_y .7 9, autocontrast .9 - solarize .8 3, equalize .8 - invert .1 -,
        translate_y .7 9 autocontrast .9 -
    """,
    "svhn": """
        shear_x .9 4 invert .2 -, shear_y .9 8 invert .7 -, equalize .6 - solarize .6 6, invert .9 - equalize .6 -,
        equalize .6 - rotate .9 3, shear_x .9 4 autocontrast .8 -, shear_y .9 8 invert .4 -, shear_y .9 5 solarize .2 6,
        invert .9 - autocontrast .8 -, equalize .6 - rotate .9 3, shear_x .9 4 solarize .3 3, shear_y .8 8 invert .7 -,
        equalize .9 - translate_y .6 6, invert .9 - equalize .6 -, contrast .3 3 rotate .8 4,
        invert .8 - translate_y 0 2, shear_y .7 6 solarize .4 8, invert .6 - rotate .8 4, shear_y .3 7 translate_x .9 3,
        shear_x .1 6 invert .6 -, solarize .7 2 translate_y .6 7, shear_y .8 4 invert .8 -,
        shear_x .7 9 translate_y .8 3, shear_y .8 5 autocontrast .7 -, shear_x .7 2 invert .1 -
    """,
}
"""25 pairs each: operation, probability, strength in ninths (- where there is none)."""


def apply_operation(
    operation: int | jax.Array,
    image: jax.Array,
    strength: float | jax.Array,
    sign: float | jax.Array = 1.0,
    interpolation: Literal["nearest", "bilinear"] = "nearest",
    fill: float | None = None,
) -> jax.Array:
    """Apply one of `OPERATIONS`; operation, strength and sign may be traced.

    Args:
      operation: index into `OPERATIONS`.
      image: [H, W, C], float in [0, 1] or uint8.
      strength: s in [0, 1]; 0 leaves the image.
      sign: 1 or -1, for the operations that have two directions.
      interpolation: interpolation of the geometric operations, nearest or bilinear.
      fill: value of pixels from outside the image in geometric operations; None is 0.

    Returns:
      The same shape and dtype.
    """
    check_shapes(image=(image, "H W C"), strength=(strength, "0 to 1"), sign=(sign, "finite"))
    check_indices("operation", operation, len(OPERATIONS), "operations")
    operation = jnp.asarray(operation, jnp.int32)
    moved = _geometric(operation, image, strength, sign, interpolation, fill)
    factor = 1 + 0.9 * strength * sign
    bits = 8 - jnp.round(4 * jnp.asarray(strength, jnp.float32)).astype(jnp.int32)
    branches = (
        lambda x: moved,
        lambda x: adjust_brightness(x, factor),
        lambda x: adjust_saturation(x, factor),
        lambda x: adjust_contrast(x, factor),
        lambda x: tone.adjust_sharpness(x, factor),
        lambda x: jnp.where(bits < 8, tone.posterize(x, bits), x),
        lambda x: tone.solarize(x, 1 - strength),
        tone.autocontrast,
        tone.equalize,
        tone.invert,
    )
    changed = jax.lax.switch(jnp.maximum(operation - _GEOMETRIC + 1, 0), branches, image)
    return jnp.where((jnp.asarray(strength) > 0) & (operation > 0), changed, image)


def rand_augment(
    num_ops: int = 2,
    magnitude: float = 9,
    num_magnitude_bins: int = 31,
    interpolation: Literal["nearest", "bilinear"] = "nearest",
    fill: float | None = None,
) -> Augmentation:
    """Build RandAugment: random operations (all but invert) one after another, all of one strength.

    Args:
      num_ops: number of operations per image, N.
      magnitude: strength in bins, in [0, num_magnitude_bins - 1]; s = magnitude / (num_magnitude_bins - 1).
      num_magnitude_bins: number of bins of the magnitude.
      interpolation: interpolation of the geometric operations, nearest or bilinear.
      fill: value of pixels from outside the image in geometric operations; None is 0.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_finite("magnitude", magnitude)
    check_shapes(fill=(fill, "finite or None"), magnitude=(magnitude, "finite"))
    check_choice("interpolation", interpolation, ("nearest", "bilinear"))
    check_shapes(num_ops=(num_ops, "int >= 0"), num_magnitude_bins=(num_magnitude_bins, "int >= 1"))
    if isinstance(magnitude, Real) and not 0 <= magnitude <= num_magnitude_bins - 1:
        raise ValueError(f"magnitude={magnitude}: out of range; allowed: in [0, {num_magnitude_bins - 1}]")
    strength = magnitude / max(num_magnitude_bins - 1, 1)

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        choose, side = jax.random.split(key)
        operations = jax.random.randint(choose, (num_ops,), 0, len(OPERATIONS) - 1)
        signs = jax.random.rademacher(side, (num_ops,), jnp.float32)

        def step(image, choice):
            return apply_operation(choice[0], image, strength, choice[1], interpolation, fill), None

        return jax.lax.scan(step, image, (operations, signs))[0]

    return apply


def auto_augment(
    policy: Literal["imagenet", "cifar10", "svhn"] = "cifar10",
    interpolation: Literal["nearest", "bilinear"] = "nearest",
    fill: float | None = None,
) -> Augmentation:
    """Build AutoAugment: a random one of 25 pairs of operations, each with its own probability and strength.

    Args:
      policy: data set that the pairs were learned on.
      interpolation: interpolation of the geometric operations, nearest or bilinear.
      fill: value of pixels from outside the image in geometric operations; None is 0.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_shapes(fill=(fill, "finite or None"))
    check_choice("policy", policy, POLICIES)
    check_choice("interpolation", interpolation, ("nearest", "bilinear"))
    operations, chances, strengths = _table(policy)

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        choose, happen, side = jax.random.split(key, 3)
        pair = jax.random.randint(choose, (), 0, len(operations))
        happens = jax.random.uniform(happen, (2,)) < jnp.asarray(chances)[pair]
        signs = jax.random.rademacher(side, (2,), jnp.float32)
        operation_idx = jnp.where(happens, jnp.asarray(operations)[pair], 0)

        def step(image, choice):
            operation, strength, sign = choice
            return apply_operation(operation, image, strength, sign, interpolation, fill), None

        return jax.lax.scan(step, image, (operation_idx, jnp.asarray(strengths)[pair], signs))[0]

    return apply


def _table(policy: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return operations, probabilities and strengths of a policy, [25, 2] each; a missing strength is 1."""
    words = np.array([pair.split() for pair in POLICIES[policy].split(",")]).reshape(-1, 2, 3)
    operations = np.vectorize(OPERATIONS.index)(words[..., 0]).astype(np.int32)
    strengths = np.where(words[..., 2] == "-", "9", words[..., 2]).astype(np.float32) / 9
    return operations, words[..., 1].astype(np.float32), strengths


def _geometric(operation, image, strength, sign, interpolation, fill) -> jax.Array:
    height, width = image.shape[:2]

    def if_(name: str, value: jax.Array | float) -> jax.Array:
        return jnp.where(operation == OPERATIONS.index(name), value, 0.0)

    lean = -jnp.rad2deg(jnp.arctan(0.3 * strength)) * sign
    right, down = (jnp.trunc(150 / 331 * side * strength) * sign for side in (width, height))
    about_corner = (operation == OPERATIONS.index("shear_x")) | (operation == OPERATIONS.index("shear_y"))
    warp = affine_warp(
        (height, width),
        if_("rotate", 30 * strength * sign),
        (if_("translate_x", right), if_("translate_y", down)),
        shear=(if_("shear_x", lean), if_("shear_y", lean)),
        center=(jnp.where(about_corner, 0, width / 2), jnp.where(about_corner, 0, height / 2)),
    )
    return warp_image(image, warp, interpolation, fill)
