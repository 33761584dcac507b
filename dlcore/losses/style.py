"""Losses between the feature maps of two images, and the roughness of one.

Gatys, Ecker & Bethge, "Image style transfer using convolutional neural networks", CVPR 2016 (arXiv:1508.06576);
total variation as in Mahendran & Vedaldi 2015 (arXiv:1412.0035), with beta = 2.

    gram:     G = F F^T,  F: [C, HW]
    content:  L = mean (F - P)^2
    style:    L = sum (G - A)^2 / (4 C^2 (HW)^2)
    TV:       L = mean over neighbours of (x_{i+1,j} - x_ij)^2 + (x_{i,j+1} - x_ij)^2

The content loss is a mean, where the paper has half the sum, so that weights do not depend on the image's size.
"""

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32

__all__ = ["content_loss", "gram_matrix", "style_loss", "total_variation_loss"]


def gram_matrix(features: jax.Array) -> jax.Array:
    """[H, W, C] -> [C, C]: what appears together, wherever it is."""
    flat = at_least_float32(features).reshape(-1, features.shape[-1])
    return flat.T @ flat


def content_loss(features: jax.Array, target: jax.Array) -> jax.Array:
    """Scalar, of two maps [H, W, C]."""
    return jnp.square(at_least_float32(features) - target).mean()


def style_loss(features: jax.Array, target_gram: jax.Array, target_size: int | None = None) -> jax.Array:
    """Scalar, of a map [H, W, C] and the Gram matrix [C, C] of another.

    target_size: H W of the other map, where it differs: both Gram matrices are then divided by their own.
    """
    size, channels = features.shape[0] * features.shape[1], features.shape[-1]
    difference = gram_matrix(features) / size - target_gram / (target_size or size)
    return jnp.square(difference).sum() / (4 * channels**2)


def total_variation_loss(image: jax.Array) -> jax.Array:
    """Scalar, of an image [H, W, C]."""
    image = at_least_float32(image)
    return jnp.square(jnp.diff(image, axis=0)).mean() + jnp.square(jnp.diff(image, axis=1)).mean()
