"""Super-resolution as a pretext: make an image small, and have a network give back what was lost.

Any image is a pair of a small and a large one. The small one is enlarged by bicubic interpolation, which is the trivial
answer, and the network adds what that cannot know; its last layer is the pixel shuffle of Shi et al. 2016,
arXiv:1609.05158.

    L = 1/B sum_i mean of (up(down(x_i)) + d(f(up(down(x_i)))) - x_i)^2,   up is bicubic interpolation
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops import resize
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.fill_in import FillIn, fill_in_learner

__all__ = ["learner", "shrink_and_enlarge"]

TRIVIAL = "bicubic"


def shrink_and_enlarge(image: jax.Array, factor: int = 2) -> FillIn:
    """Shrink an image and enlarge it again.

    Args:
      image: [H, W, C] in [0, 1].
      factor: factor by which the sides shrink.

    Returns:
      What is to be filled in.
    """
    check_shapes(image=(image, "H W C"), factor=(factor, "int >= 1"))
    height, width, _ = image.shape
    if height % factor or width % factor:
        raise ValueError(
            f"factor={factor}: does not divide images of {height}x{width} pixels; allowed: divisors of both"
        )
    small = resize(image, (height // factor, width // factor), "bicubic", antialias=True)
    large = resize(small, (height, width), "bicubic", cubic_coefficient=-0.5)
    return FillIn(large, large, image, jnp.ones(image.shape[:2], image.dtype))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    factor: Annotated[int, Range(2)] = 2,
) -> Learner:
    """Train a network to sharpen enlarged images, on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: model with C output channels, see `Filler`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: images to the model's input.
      factor: factor by which the sides shrink.

    Returns:
      The learner, see `fill_in_learner`.
    """

    def task(key: jax.Array, image: jax.Array) -> FillIn:
        del key
        return shrink_and_enlarge(image, factor)

    return fill_in_learner(model, optimizer, task, TRIVIAL, prepare, normalize)
