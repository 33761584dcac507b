"""Un-rotation: show an image turned by a random angle, and have a network paint it upright.

A reconstruction beside RotNet's classification of turns (Gidaris, Singh & Komodakis 2018, arXiv:1803.07728): whoever
paints the upright image has to know what is up. Angles are continuous or whole quarter turns; what a turn brings in
from outside is filled with the image's mean color, which is the trivial answer too.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops import affine_grid, grid_sample
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.fill_in import FillIn, fill_in_learner

__all__ = ["learner", "rotate_image"]

TRIVIAL = "mean"


def rotate_image(key: jax.Array, image: jax.Array, num_angles: int = 0) -> FillIn:
    """Turn an image about its center, by bilinear interpolation.

    Args:
      key: PRNG key of the angle.
      image: [S, S, C] in [0, 1].
      num_angles: number of equally spaced angles, of which one is chosen; 0 takes any angle.

    Returns:
      What is to be painted: the upright image, everywhere.
    """
    check_shapes(image=(image, "H W C"), num_angles=(num_angles, "int >= 0"))
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"image={image.shape}: a turn changes its shape; allowed: [S, S, C]")
    turn = jax.random.randint(key, (), 0, num_angles) / num_angles if num_angles else jax.random.uniform(key)
    cos, sin = jnp.cos(2 * jnp.pi * turn), jnp.sin(2 * jnp.pi * turn)
    # Rotate about the center; corners show the mean color.
    theta = jnp.array([[[1.0, 0, 0], [0, 1, 0]]]) * cos + jnp.array([[[0.0, -1, 0], [1, 0, 0]]]) * sin
    mean = image.mean((0, 1))
    rotated_image = mean + grid_sample((image - mean)[None], affine_grid(theta, image.shape[:2]))[0]
    return FillIn(rotated_image, jnp.broadcast_to(mean, image.shape), image, jnp.ones(image.shape[:2], image.dtype))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    num_angles: Annotated[int, Range(0)] = 0,
) -> Learner:
    """Train a network to paint turned images of `{"image": [B, S, S, C], "index": [B]}` upright.

    Args:
      model: model with C output channels, see `Filler`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: images to the model's input.
      num_angles: number of equally spaced angles, of which one is chosen for each image; 0 takes any angle.

    Returns:
      The learner, see `fill_in_learner`.
    """

    def task(key: jax.Array, image: jax.Array) -> FillIn:
        return rotate_image(key, image, num_angles)

    return fill_in_learner(model, optimizer, task, TRIVIAL, prepare, normalize)
