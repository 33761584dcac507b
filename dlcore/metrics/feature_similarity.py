"""Similarities in the features of trained networks: LPIPS of two images, CLIP score of an image and its caption.

Zhang et al. 2018, arXiv:1801.03924 (learned perceptual image patch similarity); Hessel et al. 2021, arXiv:2104.08718.

    LPIPS(a, b)      = sum_l mean_hw sum_c w_lc (a_lhwc / |a_lhw| - b_lhwc / |b_lhw|)^2
    CLIP score(i, t) = s max(cos(i, t), 0)

a_l and b_l are a network's maps of layer l, and w_l >= 0 its weights, which were fitted to what people find similar.
The published ones are of the maps LAYERS of a VGG-16 with torchvision's weights, on images normalized as ImageNet. The
paper of the CLIP score has s = 2.5; libraries take 100, as here.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.precision import to_acc_dtype

__all__ = ["LAYERS", "clip_score", "lpips", "lpips_weights"]

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""The maps of a VGG-16 that the published weights are of."""


def lpips(
    a: Mapping[str, jax.Array], b: Mapping[str, jax.Array], weights: Mapping[str, jax.Array] | None = None
) -> jax.Array:
    """Learned perceptual image patch similarity; a distance, 0 for equal images.

    Args:
      a: maps of the first images by layer, [B, H, W, C] each, of `model.apply(..., method="features")`.
      b: maps of the second images.
      weights: weights of the channels by layer, [C] each; only their layers count. None: all of `a`, weighted by 1.

    Returns:
      [B].
    """
    weights = {name: jnp.ones(value.shape[-1]) for name, value in a.items()} if weights is None else weights
    missing = [name for name in weights if name not in a or name not in b]
    if missing or not weights:
        raise ValueError(f"weights={missing}: no maps of the network; allowed: some of {', '.join(a)}")
    total: jax.Array = jnp.zeros(())
    for name, weight in weights.items():
        check_shapes(a=(a[name], "B H W C"), b=(b[name], "B H W C"), weights=(weight, "C"))
        check_range(f"weights[{name!r}]", weight, 0)
        gap = jnp.square(
            l2_normalize(to_acc_dtype(a[name]), floor=0) - l2_normalize(to_acc_dtype(b[name]), floor=0)
        ) * jnp.asarray(weight)
        total = total + gap.sum(-1).mean((1, 2))
    return total


def lpips_weights(state_dict: Mapping[str, Any], layers: tuple[str, ...] = LAYERS) -> dict[str, np.ndarray]:
    """Read the published weights of LPIPS.

    Args:
      state_dict: entries `lin0.model.1.weight` [1, C, 1, 1] and so on, as the authors' files have them.
      layers: names of the maps, in the order of the entries.

    Returns:
      Weights of the channels by layer, [C] each, float32.
    """
    matches = ((re.search(r"lin(\d+)\.model\.1\.weight$", name), value) for name, value in state_dict.items())
    entries = {match[1]: value for match, value in matches if match}
    if sorted(entries) != [str(k) for k in range(len(layers))]:
        raise ValueError(f"state_dict: layers {sorted(entries)}; allowed: 0 to {len(layers) - 1}")
    weights = {name: np.asarray(entries[str(k)], np.float32).reshape(-1) for k, name in enumerate(layers)}
    if negative := [name for name, weight in weights.items() if not (weight >= 0).all()]:
        raise ValueError(f"state_dict: a weight of {negative[0]} is below 0; allowed: numbers of at least 0")
    return weights


def clip_score(images: jax.Array, texts: jax.Array, scale: float = 100.0) -> jax.Array:
    """CLIP score: agreement of images with their captions.

    Args:
      images: [B, D], features of images by a CLIP network.
      texts: [B, D], features of their captions.
      scale: s, the score of equal directions.

    Returns:
      [B], from 0 to `scale`.
    """
    check_shapes(images=(images, "B D finite"), texts=(texts, "B D finite"), scale=(scale, "> 0"))
    check_finite("scale", scale)
    images, texts = l2_normalize(to_acc_dtype(images), floor=0), l2_normalize(to_acc_dtype(texts), floor=0)
    return scale * jnp.maximum((images * texts).sum(-1), 0)
