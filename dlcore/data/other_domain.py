"""Domain adaptation data: a second domain made from a first by blending with patches of photographs, or by inverting.

Ganin et al. 2016, arXiv:1505.07818, blend MNIST with patches of BSDS500 (MNIST-M):

    blended    |image - patch|, in each color          inverted    1 - image
"""

from typing import Literal

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.source import Source, check_seed

__all__ = ["blend", "two_domains"]


def blend(images: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Blend images with patches by their absolute difference.

    Args:
      images: [N, H, W, 1 or 3] uint8.
      patches: [M, H, W, 3] uint8; image i gets patch i mod M.

    Returns:
      [N, H, W, 3] uint8, |image - patch|.
    """
    for name, pixels, channels in (("images", images, (1, 3)), ("patches", patches, (3,))):
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in channels:
            allowed = f"uint8 [N, H, W, {' or '.join(map(str, channels))}]"
            raise ValueError(f"{name}={pixels.dtype}{list(pixels.shape)}: no pictures; allowed: {allowed}")
    if not len(patches):
        raise ValueError("patches: none; allowed: one or more")
    if images.shape[1:3] != patches.shape[1:3]:
        raise ValueError(f"patches={patches.shape[1:3]}: of another size; allowed: {images.shape[1:3]}, the images'")
    backgrounds = patches[np.arange(len(images)) % len(patches)]
    return np.abs(images.astype(np.int16) - backgrounds).astype(np.uint8)


def two_domains(
    source: Source, patches: np.ndarray, kind: Literal["blended", "inverted"] = "blended", seed: int = 0
) -> Source:
    """Build a source of two domains: the images of a source, and the same images converted and in random order.

    Args:
      source: source with `image: [N, H, W, 1 or 3]`, uint8 or float in [0, 1], and `label: [N]`.
      patches: [M, H, W, 3] uint8, patches for "blended"; ignored for "inverted".
      kind: conversion to the second domain, "blended" (see `blend`) or "inverted" (255 - image).
      seed: random seed of the order of the second domain.

    Returns:
      A source of the first domain in `image: [N, H, W, 3] uint8` and `label: [N]`, and of the second in `target` and
      `target_label`, of the same shapes. Row i of the two domains is not a pair, as the second is shuffled.
    """
    check_choice("kind", kind, ("blended", "inverted"))
    image = source.arrays["image"]
    image = image if image.dtype == np.uint8 else np.rint(255 * np.asarray(image)).astype(np.uint8)
    image = image.repeat(3, -1) if image.shape[-1] == 1 else image
    order = np.random.default_rng((check_seed(seed), 5)).permutation(len(source))
    shuffled = image[order]
    arrays = {
        "image": image,
        "label": source.arrays["label"],
        "target": blend(shuffled, patches) if kind == "blended" else 255 - shuffled,
        "target_label": source.arrays["label"][order],
    }
    return Source(arrays, class_names=source.class_names, name=f"{source.name} and {kind}")
