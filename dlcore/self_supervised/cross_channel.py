"""Cross-channel prediction: a network predicts one channel of an image from the others.

Zhang, Isola & Efros 2017, arXiv:1611.09842 (one half of a split brain). Any channel will do: red from green and blue,
or depth from color where an image has four. The input holds the mean of the other channels in place of the masked one,
which is the trivial baseline; evaluation and transfer use the same input.

    L = 1/B sum_i mean of (m_i + d(f(input_i)) - channel c of x_i)^2,   m_i the mean of the other channels
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.fill_in import FillIn, fill_in_learner

__all__ = ["hidden_channel", "learner", "remove_channel"]

TRIVIAL = "others"


def remove_channel(image: jax.Array, channel: int) -> jax.Array:
    """Replace a channel by the mean of the others.

    Args:
      image: [H, W, C] in [0, 1].
      channel: index of the channel to replace.

    Returns:
      [H, W, C].
    """
    check_shapes(image=(image, "H W C"), channel=(channel, "int >= 0"))
    image, count = jnp.asarray(image), image.shape[-1]
    if count < 2 or not 0 <= channel < count:
        raise ValueError(f"channel={channel}: of images of {count} channels; allowed: 0 to {count - 1}, of 2 or more")
    mean_of_rest = (image.sum(-1) - image[..., channel]) / (count - 1)
    return image.at[..., channel].set(mean_of_rest)


def hidden_channel(image: jax.Array, channel: int = 0) -> FillIn:
    """Hide a channel.

    Args:
      image: [H, W, C] in [0, 1].
      channel: index of the channel to hide.

    Returns:
      What is to be filled in, of one channel.

    Raises:
      ValueError: as `remove_channel`.
    """
    input_image, channel_slice = remove_channel(image, channel), slice(channel, channel + 1)
    return FillIn(
        input_image, input_image[..., channel_slice], image[..., channel_slice], jnp.ones(image.shape[:2], image.dtype)
    )


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    channel: Annotated[int, Range(0)] = 0,
) -> Learner:
    """Train a network to predict a channel of `{"image": [B, H, W, C], "index": [B]}` from the others.

    Args:
      model: model with 1 output channel, see `Filler`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: images to the model's input.
      channel: index of the predicted channel; 0 is red.

    Returns:
      The learner, see `fill_in_learner`.
    """

    def task(key: jax.Array, image: jax.Array) -> FillIn:
        del key
        return hidden_channel(image, channel)

    def hide(image: jax.Array) -> jax.Array:
        return remove_channel(image, channel)

    return fill_in_learner(model, optimizer, task, TRIVIAL, prepare, normalize, hide)
