"""RotNet: turn an image by 0, 90, 180 or 270 degrees, and have a network tell which.

Gidaris, Singh & Komodakis 2018, arXiv:1803.07728. Turns are exchanges of rows and columns, so that no interpolation
leaves traces that would tell. Images that look the same when turned (many digits, a ring) cannot be told.

    L = -1/4B sum_i sum_{r=0..3} log p(r | turn(x_i, 90 r))
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.pretext import pretext_learner

__all__ = ["NUM_CLASSES", "learner", "rotation"]

NUM_CLASSES = 4


def rotation(key: jax.Array, example: dict) -> tuple[jax.Array, jax.Array]:
    """Turn an image counterclockwise.

    Args:
      key: PRNG key of the number of quarter turns.
      example: example with `image: [S, S, C]`.

    Returns:
      ([1, S, S, C], quarter turns).
    """
    image = example["image"]
    check_shapes(image=(image, "H W C"))
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"image={image.shape}: a quarter turn changes its shape; allowed: [S, S, C]")
    quarter_turns = jax.random.randint(key, (), 0, NUM_CLASSES)
    return jax.lax.switch(quarter_turns, [lambda x, k=k: jnp.rot90(x, k) for k in range(NUM_CLASSES)], image)[
        None
    ], quarter_turns


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
) -> Learner:
    """Train a network to tell how images of `{"image": [B, S, S, C], "index": [B]}` were turned.

    Args:
      model: model with NUM_CLASSES outputs, see `PieceClassifier`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: turned images to the model's input.

    Returns:
      The learner, see `pretext_learner`.
    """
    return pretext_learner(model, optimizer, rotation, prepare, normalize, NUM_CLASSES)
