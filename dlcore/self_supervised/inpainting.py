"""Context encoder: cut a square out of an image, and have a network paint what was there.

Pathak, Krahenbuhl, Donahue, Darrell & Efros 2016, arXiv:1604.07379, without its adversary. The hole is filled with the
mean of what is left, which is the trivial answer too. It may lie anywhere.

    L = 1/B sum_i mean over the hole of (m_i + d(f(cut(x_i))) - x_i)^2,   m_i the mean of what is left
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.self_supervised.fill_in import FillIn, fill_in_learner, random_square

__all__ = ["hole", "learner"]

TRIVIAL = "mean"


def hole(key: jax.Array, image: jax.Array, share: float = 0.5) -> FillIn:
    """Cut a square at a random place.

    Args:
      key: PRNG key of the position.
      image: [H, W, C] in [0, 1].
      share: side of the hole / shorter side of the image.

    Returns:
      What is to be filled in.
    """
    check_shapes(image=(image, "H W C"))
    # A square hole, filled with the mean of what is visible.
    cut, _ = random_square(key, *image.shape[:2], share)  # [H, W]
    mean = jnp.where(cut[..., None], 0, to_acc_dtype(image)).sum((0, 1)) / jnp.maximum((~cut).sum(), 1)
    trivial = jnp.broadcast_to(mean, image.shape)
    return FillIn(jnp.where(cut[..., None], trivial, image), trivial, image, cut.astype(image.dtype))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    hole_share: Annotated[float, Range(0.01, 0.9)] = 0.5,
) -> Learner:
    """Train a network to fill holes of `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: model with C output channels, see `Filler`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: images to the model's input.
      hole_share: side of the hole / shorter side of the image.

    Returns:
      The learner, see `fill_in_learner`.
    """

    def task(key: jax.Array, image: jax.Array) -> FillIn:
        return hole(key, image, hole_share)

    return fill_in_learner(model, optimizer, task, TRIVIAL, prepare, normalize)
