"""Losses between the feature maps of two images, and the roughness of one.

Gatys, Ecker & Bethge, "Image style transfer using convolutional neural networks", CVPR 2016 (arXiv:1508.06576);
total variation as in Mahendran & Vedaldi 2015 (arXiv:1412.0035), with beta = 2.

    gram:     G = F F^T,  F: [C, HW]
    content:  L = mean (F - P)^2
    style:    L = sum (G - A)^2 / (4 C^2 (HW)^2)
    TV:       L = mean over neighbors of (x_{i+1,j} - x_ij)^2 + (x_{i,j+1} - x_ij)^2

The content loss is a mean, where the paper has half the sum, so that weights do not depend on the image's size.
"""

import math

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype, to_same_origin

__all__ = ["content_loss", "gram_matrix", "style_loss", "total_variation_loss"]


def gram_matrix(features: jax.Array) -> jax.Array:
    """Gram matrix: which channels respond together, wherever in the map.

    Args:
      features: [..., H, W, C], feature maps.

    Returns:
      [..., C, C], inner products of channels, summed over H W.
    """
    check_shapes(features=(features, "... H W C"))
    *batch, height, width, channels = features.shape
    flat = to_acc_dtype(features).reshape(*batch, height * width, channels)  # [..., H W, C]
    return jnp.swapaxes(flat, -1, -2) @ flat


def content_loss(features: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean squared difference of two feature maps.

    Args:
      features: [..., H, W, C], feature maps.
      targets: [..., H, W, C], maps of the images whose content to keep.

    Returns:
      [...], one loss an image.
    """
    check_shapes(features=(features, "... H W C"), targets=(targets, "... H W C"))
    features, targets = to_same_origin(features, targets)
    return jnp.square(features - targets).mean((-3, -2, -1))


def style_loss(features: jax.Array, target_gram: jax.Array, target_size: int | None = None) -> jax.Array:
    """Squared difference of two Gram matrices, each divided by its map's size.

    Args:
      features: [..., H, W, C], feature maps.
      target_gram: [..., C, C], Gram matrices of the images whose style to take.
      target_size: H W of the maps of `target_gram`; None where it is that of `features`.

    Returns:
      [...], one loss an image.
    """
    check_shapes(features=(features, "... H W C"), target_gram=(target_gram, "... C C"))
    check_shapes(target_size=(target_size, "int >= 1 or None"))
    size, channels = features.shape[-3] * features.shape[-2], features.shape[-1]
    # Gram matrices a pixel, so that sizes may differ.
    difference = gram_matrix(features) / size - target_gram / (target_size or size)  # [..., C, C]
    return jnp.square(difference).sum((-2, -1)) / (4 * channels**2)


def total_variation_loss(image: jax.Array) -> jax.Array:
    """Total variation: mean squared differences of neighboring pixels, down and across.

    Args:
      image: [..., H, W, C].

    Returns:
      [...], one loss an image; a direction one pixel long adds 0.
    """
    check_shapes(image=(image, "... H W C"))
    image = to_acc_dtype(image)
    # Squared differences of vertical and horizontal neighbors.
    steps = (jnp.square(jnp.diff(image, axis=axis)) for axis in (-3, -2))
    down, across = (step.sum((-3, -2, -1)) / max(math.prod(step.shape[-3:]), 1) for step in steps)
    return down + across
