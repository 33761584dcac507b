"""Shuffle and learn: show three frames of a clip, and have a network tell whether they are in order.

Misra, Zitnick & Hebert 2016, arXiv:1603.08561.

    a < b < c, stride apart      in order: (a, b, c) or (c, b, a), as the world may run backward
                                 not:      (b, a, c) or (c, a, b), (a, c, b) or (b, c, a)

What stands in the middle must lie between the others. The same frames make both answers, so no frame alone tells.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess, to_float
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.pretext import Task, pretext_learner

__all__ = ["NUM_CLASSES", "frame_order", "learner"]

NUM_CLASSES = 2
ORDERS = ((0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0))
"""The first two are in order."""


def frame_order(stride: int = 2) -> Task:
    """Build the task.

    Args:
      stride: frames from one to the next.

    Returns:
      (key, example with `clip: [F, H, W, C]`) -> (three frames [3, H, W, C], 1 in order and 0 not).
    """
    check_shapes(stride=(stride, "int >= 1"))

    def task(key: jax.Array, example: dict) -> tuple[jax.Array, jax.Array]:
        clip = to_float(example["clip"])
        last = len(clip) - 2 * stride
        if last < 1:
            raise ValueError(
                f"stride={stride}: three frames do not fit a clip of {len(clip)}; allowed: 1 to {(len(clip) - 1) // 2}"
            )
        begin, label_key, order_key = jax.random.split(key, 3)
        label = jax.random.bernoulli(label_key).astype(jnp.int32)
        number = jax.random.randint(order_key, (), 0, 4)
        # Forwards and backwards are right; the other four orders are wrong.
        order = jnp.asarray(ORDERS)[jnp.where(label == 1, number % 2, 2 + number)]
        return clip[jax.random.randint(begin, (), 0, last) + stride * order], label

    return task


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    stride: Annotated[int, Range(1)] = 2,
) -> Learner:
    """Train a network to tell whether frames are in order, on `{"clip": [B, F, H, W, C], "image", "index"}`.

    Args:
      model: model with NUM_CLASSES outputs, whose head has a hidden layer and sees where things are, see
        `PieceClassifier`.
      optimizer: any optax transformation.
      prepare: batch of images, single frames, to floats in [0, 1].
      normalize: frames to the model's input.
      stride: frames from one to the next.

    Returns:
      The learner, see `pretext_learner`; features are those of `image`.
    """
    return pretext_learner(model, optimizer, frame_order(stride), prepare, normalize, NUM_CLASSES)
