"""Colorization: take the colors from an image, and have a network give them back.

Zhang, Isola & Efros 2016, arXiv:1603.08511; Larsson, Maire & Shakhnarovich 2016, arXiv:1603.06668. Here the loss is
squared, in RGB, so that what cannot be known becomes the mean of the possible colors, which is grayish. The trivial
answer is gray. Afterwards, too, the encoder sees images in gray: it never learned to look at colors.

    L = 1/B sum_i mean of (gray(x_i) + d(f(gray(x_i))) - x_i)^2,   f the encoder, d the decoder
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.data.augment.jitter import gray
from dlcore.learner import Learner
from dlcore.self_supervised.fill_in import FillIn, fill_in_learner

__all__ = ["learner", "remove_colors", "to_grayscale"]

TRIVIAL = "gray"


def to_grayscale(image: jax.Array) -> jax.Array:
    """Show an image in gray.

    Args:
      image: [H, W, 3] in [0, 1].

    Returns:
      [H, W, 3], all channels the same.
    """
    if image.shape[-1] != 3:
        raise ValueError(f"image={image.shape}: has no colors; allowed: [H, W, 3]")
    return jnp.broadcast_to(gray(image)[..., :1], image.shape)


def remove_colors(key: jax.Array, image: jax.Array) -> FillIn:
    """Take the colors from an image.

    Args:
      key: unused; the task is always the same.
      image: [H, W, 3] in [0, 1].

    Returns:
      What is to be filled in.
    """
    del key
    gray = to_grayscale(image)
    return FillIn(gray, gray, image, jnp.ones(image.shape[:2], image.dtype))


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
) -> Learner:
    """Train a network to color images of `{"image": [B, H, W, 3], "index": [B]}`.

    Args:
      model: model with 3 output channels, see `Filler`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: images to the model's input.

    Returns:
      The learner, see `fill_in_learner`.
    """
    return fill_in_learner(model, optimizer, remove_colors, TRIVIAL, prepare, normalize, to_grayscale)
