"""Exemplar-CNN: every image is a class of its own, whose members are its random views.

Dosovitskiy, Springenberg, Riedmiller & Brox 2014, arXiv:1406.6909. An image's class is its `exemplar`, which the data
says once and for all; an image with -1 belongs to no class and takes no part.

    L = -1/B sum_i log p(exemplar_i | view(x_i))
"""

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner
from dlcore.self_supervised.pretext import Task, pretext_learner

__all__ = ["exemplar", "learner"]


def exemplar(augment: Augmentation) -> Task:
    """Build the task.

    Args:
      augment: `(key, image [H, W, C] in [0, 1]) -> image`.

    Returns:
      (key, example with `exemplar: []`) -> (a view [1, H, W, C], `exemplar`).
    """

    def task(key: jax.Array, example: dict) -> tuple[jax.Array, jax.Array]:
        return augment(key, example["image"])[None], example["exemplar"]

    return task


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
) -> Learner:
    """Train a network to tell of which image a view is, on `{"image": [B, H, W, C], "exemplar": [B], "index": [B]}`.

    Args:
      model: model with as many classes as there are exemplars, see `PieceClassifier`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, the views.
      prepare: batch of images to floats in [0, 1].
      normalize: views to the model's input.

    Returns:
      The learner, see `pretext_learner`.
    """
    return pretext_learner(model, optimizer, exemplar(augment), prepare, normalize, label_entry="exemplar")
