"""Augmentation of an image and its label map together: `(key, {"image", "semantic"}) -> dict`, run inside jit.

Geometry moves both by one map, the image bilinearly and the labels to the nearest pixel; what comes in from outside is
0, the mean color, and void. Colors change the image alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.compose import Augmentation
from dlcore.data.augment.random_warp import RandomWarp
from dlcore.data.augment.warp import warp_image

__all__ = ["MapAugmentation", "compose_maps", "on_pixels", "warp_maps"]

MapAugmentation = Callable[[Any, dict[str, jax.Array]], dict[str, jax.Array]]


def compose_maps(*augmentations: MapAugmentation) -> MapAugmentation:
    """Chain augmentations, the i-th with `fold_in(key, i)`.

    Args:
      augmentations: applied in this order.

    Returns:
      `(key, example) -> example`.
    """

    def apply(key, example):
        for i, part in enumerate(augmentations):
            example = part(jax.random.fold_in(key, i), example)
        return example

    return apply


def warp_maps(draw: RandomWarp, void: int = 255) -> MapAugmentation:
    """Build the augmentation that moves an image and its labels by one drawn map.

    Args:
      draw: of `random_warp`.
      void: label of what comes in from outside.

    Returns:
      `(key, {"image": [H, W, C] float, "semantic": [H, W] uint8}) -> dict`.
    """

    def apply(key, example):
        warp = draw(key, example["image"].shape[:2])
        semantic = warp_image(example["semantic"][..., None], warp, "nearest", void)[..., 0]
        return {**example, "image": warp_image(example["image"], warp), "semantic": semantic}

    return apply


def on_pixels(augmentation: Augmentation, mean: Sequence[float], std: Sequence[float]) -> MapAugmentation:
    """Build the augmentation that changes the colors of normalized images.

    Args:
      augmentation: of images in [0, 1], such as `color_jitter`.
      mean: [C], that was subtracted.
      std: [C], that was divided by.

    Returns:
      `(key, {"image": [H, W, C] normalized, ...}) -> dict`.
    """
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def apply(key, example):
        image = example["image"]
        pixels = augmentation(key, jnp.clip(image * std + mean, 0, 1))
        return {**example, "image": ((pixels - mean) / std).astype(image.dtype)}

    return apply
