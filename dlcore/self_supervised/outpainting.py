"""Outpainting: a network extrapolates an image beyond the borders of a crop.

The context encoder (Pathak et al. 2016, arXiv:1604.07379) with the mask inverted; Sabini & Rusak 2018,
arXiv:1808.08483, without their adversarial loss. The masked region is filled with the crop's mean color, which is the
trivial baseline too. The position of the crop is random.
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

__all__ = ["crop_alone", "learner"]

TRIVIAL = "mean"


def crop_alone(key: jax.Array, image: jax.Array, share: float = 0.6) -> FillIn:
    """Mask everything outside a square at a random position.

    Args:
      key: PRNG key of the position.
      image: [H, W, C] in [0, 1].
      share: side of the square / shorter side of the image.

    Returns:
      What is to be filled in: everything outside the square.
    """
    check_shapes(image=(image, "H W C"))
    # A square stays; its mean fills the rest.
    crop, side = random_square(key, *image.shape[:2], share)  # [H, W]
    mean = jnp.where(crop[..., None], to_acc_dtype(image), 0).sum((0, 1)) / side**2
    trivial = jnp.broadcast_to(mean, image.shape)
    return FillIn(jnp.where(crop[..., None], image, trivial), trivial, image, (~crop).astype(image.dtype))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    crop_share: Annotated[float, Range(0.1, 0.95)] = 0.6,
) -> Learner:
    """Train a network to outpaint crops of `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: model with C output channels, see `Filler`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: images to the model's input.
      crop_share: side of the visible square / shorter side of the image.

    Returns:
      The learner, see `fill_in_learner`.
    """

    def task(key: jax.Array, image: jax.Array) -> FillIn:
        return crop_alone(key, image, crop_share)

    return fill_in_learner(model, optimizer, task, TRIVIAL, prepare, normalize)
