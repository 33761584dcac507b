"""Context prediction: given the middle patch of an image and one of its eight neighbors, tell which neighbor it is.

Doersch, Gupta & Efros 2015, arXiv:1505.05192.

    0 1 2
    3 . 4          label, of the neighbor of the middle patch
    5 6 7
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.pieces import cut_pieces
from dlcore.self_supervised.pretext import Task, pretext_learner

__all__ = ["NUM_CLASSES", "learner", "relative_patch"]

NUM_CLASSES = 8


def relative_patch(gap: int = 1, jitter: int = 1, by_piece: bool = True) -> Task:
    """Build the task.

    Args:
      gap: pixels between neighboring patches.
      jitter: pixels by which a patch may move.
      by_piece: normalize every patch by itself.

    Returns:
      (key, example) -> (the middle patch and a neighbor [2, p, p, C], the neighbor's number).
    """
    check_shapes(gap=(gap, "int >= 0"), jitter=(jitter, "int >= 0"))

    def task(key: jax.Array, example: dict) -> tuple[jax.Array, jax.Array]:
        cut_key, label_key = jax.random.split(key)
        patches = cut_pieces(cut_key, example["image"], 3, gap, jitter, by_piece)
        label = jax.random.randint(label_key, (), 0, NUM_CLASSES)
        # The center patch and one of its eight neighbors.
        return jnp.stack([patches[4], patches[label + (label >= 4)]]), label

    return task


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    gap: Annotated[int, Range(0)] = 1,
    jitter: Annotated[int, Range(0)] = 1,
    by_piece: bool = True,
) -> Learner:
    """Train a network to tell on which side of the middle patch another one lies, on `{"image", "index"}`.

    Args:
      model: model with NUM_CLASSES outputs, with a hidden layer in its head, see `PieceClassifier`.
      optimizer: any optax transformation.
      prepare: batch of images [B, S, S, C] to floats in [0, 1]; 3 divides S.
      normalize: patches to the model's input.
      gap: pixels between neighboring patches; 0 lets lines that go on tell the side.
      jitter: pixels by which a patch may move; 0 lets the frame of the cells tell.
      by_piece: give every patch the same mean and deviation.

    Returns:
      The learner, see `pretext_learner`; its `pieces` are the features of the middle patch and of the neighbor.
    """
    task = relative_patch(gap, jitter, by_piece)
    return pretext_learner(model, optimizer, task, prepare, normalize, NUM_CLASSES)
