"""Images of a second domain, made from those of a first: blended with patches of photographs, or inverted.

Ganin et al. 2016, arXiv:1505.07818, blend MNIST with patches of BSDS500 (MNIST-M):

    blended    |image - patch|, in each color          inverted    1 - image
"""

from typing import Literal

import numpy as np

from dlcore.data.source import Source, checked_seed

__all__ = ["blend", "two_domains"]


def blend(images: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Blend images with patches.

    Args:
      images: [N, H, W, 1 or 3] uint8.
      patches: [M, H, W, 3] uint8; image i gets patch i mod M.

    Returns:
      [N, H, W, 3] uint8, |image - patch|.

    Raises:
      ValueError: the sides differ.
    """
    if images.shape[1:3] != patches.shape[1:3]:
        raise ValueError(f"patches={patches.shape[1:3]}: of another size; allowed: {images.shape[1:3]}, the images'")
    backgrounds = patches[np.arange(len(images)) % len(patches)]
    return np.abs(images.astype(np.int16) - backgrounds).astype(np.uint8)


def two_domains(
    source: Source, patches: np.ndarray, kind: Literal["blended", "inverted"] = "blended", seed: int = 0
) -> Source:
    """Put other images of a second domain beside those of a first.

    Args:
      source: `image: [N, H, W, 1 or 3]`, uint8 or in [0, 1], and `label: [N]`.
      patches: [M, H, W, 3] uint8, to blend with.
      kind: how the second domain is made.
      seed: random seed of its order beside the first.

    Returns:
      A source of `image` and `target: [N, H, W, 3] uint8`, `label` and `target_label: [N]`; row i of the one is
      another image than row i of the other.

    Raises:
      ValueError: see `blend`.
    """
    image = source.arrays["image"]
    image = image if image.dtype == np.uint8 else np.rint(255 * np.asarray(image)).astype(np.uint8)
    image = image.repeat(3, -1) if image.shape[-1] == 1 else image
    order = np.random.default_rng((checked_seed(seed), 5)).permutation(len(source))
    shuffled = image[order]
    arrays = {
        "image": image,
        "label": source.arrays["label"],
        "target": blend(shuffled, patches) if kind == "blended" else 255 - shuffled,
        "target_label": source.arrays["label"][order],
    }
    return Source(arrays, class_names=source.class_names, name=f"{source.name} and {kind}")
