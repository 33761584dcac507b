"""Augmentation recipes for image classification and for contrastive learning."""

from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.data import augment
from dlcore.data.augment import jitter, occlusion
from dlcore.data.augment.compose import Augmentation, check_channels
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["CLASSIFICATION", "STRONG", "VIEWS", "classification_augmentation", "contrastive_augmentation"]

STRONG = ("cutout", "rand_augment", "auto_augment")
"""Augmentations that follow a recipe: cutout of a square of half the side, RandAugment (2 operations of magnitude 9),
AutoAugment by the policy for CIFAR-10."""
CLASSIFICATION = ("none", "affine", "shift", "shift_flip", "crop_flip", "resized_crop_flip")
"""Recipes of `classification_augmentation`."""
VIEWS = ("digit", "gray", "color")
"""Recipes of `contrastive_augmentation`: for handwritten characters, gray and colored photographs."""


def classification_augmentation(
    name: str, side: int, mean: Sequence[float], std: Sequence[float], strong: str | None = None
) -> Augmentation | None:
    """Build an augmentation of normalized images.

    Pixels from outside the image are black for affine, shift and shift_flip, mirrored for crop_flip, and gray (0.5 in
    [0, 1]) for rand_augment and auto_augment; cutout sets its square to the mean.

    Args:
      name: recipe from CLASSIFICATION.
      side: side of the images in pixels.
      mean: [C], the mean that the images were normalized by.
      std: [C], the standard deviation that the images were normalized by.
      strong: augmentation from STRONG that follows the recipe; None for none.

    Returns:
      `(key, image [H, W, C]) -> image`; None for the recipe "none" without a strong augmentation.
    """
    check_whole_number("side", side, 1)
    check_finite("mean", mean)
    check_finite("std", std)
    check_shapes(mean=(mean, "... finite"), std=(std, "... > 0"))
    check_choice("name", name, CLASSIFICATION)
    if strong not in (None, *STRONG):
        raise ValueError(f"strong={strong!r}: unknown; allowed: None, {', '.join(STRONG)}")
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    black = -mean / std

    def on_black(function: Augmentation) -> Augmentation:
        def apply(key: jax.Array, image: jax.Array) -> jax.Array:
            check_channels(image, black)
            return function(key, image - black.astype(image.dtype)) + black.astype(image.dtype)

        return apply

    pixels = max(1, round(side / 8))
    shift = augment.random_shift(max(1, pixels // 2))
    plain = {
        "none": None,
        "affine": on_black(augment.random_affine(degrees=20, translate=0.125, scale=(0.8, 1.2), shear=15)),
        "shift": on_black(shift),
        "shift_flip": on_black(augment.compose(shift, augment.random_flip())),
        "crop_flip": augment.compose(augment.random_crop(pixels, "reflect"), augment.random_flip()),
        "resized_crop_flip": augment.compose(augment.random_resized_crop((0.08, 1.0)), augment.random_flip()),
    }[name]
    if strong is None:
        return plain
    extra = {
        "cutout": augment.cutout(max(1, side // 2)),
        "rand_augment": augment.on_unit(augment.rand_augment(fill=0.5), mean, std),
        "auto_augment": augment.on_unit(augment.auto_augment(fill=0.5), mean, std),
    }[strong]
    return extra if plain is None else augment.compose(plain, extra)


def contrastive_augmentation(
    kind: Literal["digit", "gray", "color"], area: tuple[float, float] | None = None, side: int | None = None
) -> Augmentation:
    """Build an augmentation that draws random views of an image for contrastive learning.

    "color" is SimCLR's (Chen et al. 2020, arXiv:2002.05709, appendix A) with a weaker color jitter and larger crops.

    Args:
      kind: kind of image: "digit" (handwritten characters), "gray" or "color" (photographs).
      area: (low, high) of a view's area as a fraction of the image's; None takes that of the kind.
      side: side of a view in pixels; None keeps the image's size.

    Returns:
      `(key, image [H, W, C] in [0, 1]) -> image`.
    """
    check_choice("kind", kind, VIEWS)

    def crop(usual: tuple[float, float]) -> Augmentation:
        return occlusion.random_resized_crop(area or usual, side=side)

    if kind == "digit":
        cut = () if (area, side) == (None, None) else (crop((1.0, 1.0)),)
        return augment.compose(
            *cut,
            augment.random_affine(degrees=20, translate=0.15, scale=(0.7, 1.2), shear=15),
            jitter.color_jitter(brightness=0.4),
            occlusion.random_erasing(0.5, (0.02, 0.2)),
            occlusion.gaussian_noise(0.05),
        )
    if kind == "gray":
        return augment.compose(
            crop((0.3, 1.0)),
            augment.random_flip(),
            jitter.random_apply(jitter.color_jitter(0.6, 0.6), 0.8),
            jitter.random_blur((0.1, 1.5), 0.3),
            occlusion.random_erasing(0.3, (0.02, 0.2)),
        )
    return augment.compose(
        crop((0.2, 1.0)),
        augment.random_flip(),
        jitter.random_apply(jitter.color_jitter(0.4, 0.4, 0.4, 0.1), 0.8),
        jitter.random_gray(0.2),
        jitter.random_blur((0.1, 2.0), 0.5),
    )
