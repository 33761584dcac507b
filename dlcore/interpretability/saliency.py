"""Gradient saliency: how strongly each pixel moves the score of a class.

Simonyan, Vedaldi & Zisserman 2013, "Deep inside convolutional networks", arXiv:1312.6034, section 3.

    M_ij = max_c | d s_k(x) / d x_ijc |

s_k is the score before the softmax: the probability would rise by the fall of the others, too.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["gradient_saliency"]


def gradient_saliency(
    score: Callable[[jax.Array], jax.Array], images: jax.Array, labels: jax.Array | None = None
) -> jax.Array:
    """Measure how strongly each pixel moves the score of a class.

    Args:
      score: images [B, H, W, C] -> scores [B, K] before the softmax, each of its own image (no batch statistics).
      images: [B, H, W, C] float.
      labels: [B] int, whose scores; None for the highest of each image.

    Returns:
      [B, H, W], not negative.
    """

    def chosen(x: jax.Array) -> jax.Array:
        scores = score(x)
        best = scores.argmax(-1) if labels is None else labels
        return jnp.take_along_axis(scores, best[:, None], 1).sum()

    return jnp.abs(jax.grad(chosen)(images)).max(-1)
