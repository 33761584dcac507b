"""Class images: the image with the highest score of a class, by gradient ascent.

Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks" (2013), arXiv:1312.6034; the blur and the clipping
of small pixels by Yosinski, Clune, Nguyen, Fuchs & Lipson, "Understanding neural networks through deep visualization"
(2015), arXiv:1506.06579.

    x* = argmax_x  s_c(x) - lambda ||x||^2 / HW,      x = 0 at the start (the mean image)

s_c is the score before the softmax: the probability could also rise by pushing the other classes down. x is the
standardized image. Every few steps it is blurred, and pixels of small norm are set to 0.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.interpretability.image_optimization import image_learner
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["ImageRegularization", "blur", "blur_and_clip", "learner", "random_shift"]


class ImageRegularization(NamedTuple):
    """What keeps optimized pixels from noise: shifts before the gradients, blur and clipping between the steps.

    Args:
      jitter: largest random shift before each gradient, in pixels.
      blur_every: steps between two blurs and clippings.
      blur_sigma: sigma of the blur, in pixels; 0 leaves it out.
      clip_percentile: percent of the pixels, those of the smallest norm, that are set to 0; 0 leaves it out.
    """

    jitter: Annotated[int, Range(0)] = 2
    blur_every: Annotated[int, Range(1)] = 8
    blur_sigma: Annotated[float, Range(0, 4)] = 0.5
    clip_percentile: Annotated[float, Range(0, 99)] = 0.0


def blur(image: jax.Array, sigma: float | jax.Array) -> jax.Array:
    """Blur an image by a Gaussian, with repeated edges.

    Args:
      image: [H, W, C].
      sigma: sigma of the Gaussian, in pixels, at most about 2 (the kernel has 9 taps).

    Returns:
      [H, W, C].
    """
    check_shapes(image=(image, "H W C"), sigma=(sigma, ">= 0"))
    offsets = jnp.arange(-4, 5)
    weights = jnp.exp(-0.5 * jnp.square(offsets / jnp.maximum(sigma, 1e-6)))
    weights = weights / weights.sum()
    # A Gaussian is separable: blur along one axis, then along the other.
    for axis in (0, 1):
        padded = jnp.pad(image, [(4, 4) if a == axis else (0, 0) for a in range(3)], mode="edge")
        size = image.shape[axis]
        image = sum(w * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k, w in enumerate(weights))
    return image


def random_shift(image: jax.Array, key: jax.Array | None, jitter: int) -> jax.Array:
    """Shift an image at random, so that no pattern depends on the grid of the strides.

    Args:
      image: [H, W, C].
      key: PRNG key; None shifts by nothing.
      jitter: largest shift along each axis, in pixels.

    Returns:
      [H, W, C]; what leaves at one edge enters at the other.
    """
    check_shapes(jitter=(jitter, "int >= 0"))
    if key is None or not jitter:
        return image
    return jnp.roll(image, jax.random.randint(key, (2,), -jitter, jitter + 1), (0, 1))


def blur_and_clip(
    image: jax.Array,
    step: jax.Array,
    mean: np.ndarray,
    std: np.ndarray,
    regularization: ImageRegularization = ImageRegularization(),
) -> jax.Array:
    """Every few steps blur an image and set its pixels of small norm to the mean; keep it in [0, 1].

    Args:
      image: [H, W, C].
      step: [] int, of the optimization.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      regularization: how often and how much to blur and clip.

    Returns:
      [H, W, C] in [0, 1].
    """
    mean, std = to_acc_dtype(mean), to_acc_dtype(std)
    x = (to_acc_dtype(image) - mean) / std
    # Every few steps, blur and set pixels of small norm to 0.
    smooth = blur(x, regularization.blur_sigma) if regularization.blur_sigma > 0 else x
    norm = jnp.sqrt(jnp.square(smooth).sum(-1, keepdims=True))
    clipped = jnp.where(norm < jnp.percentile(norm, regularization.clip_percentile), 0.0, smooth)
    x = jnp.where(step % regularization.blur_every == 0, clipped, x)
    # Back to pixels, in [0, 1].
    return jnp.clip(x * std + mean, 0, 1).astype(result_dtype(image))


@check_arguments
def learner(
    *,
    model: nn.Module,
    variables: Any,
    optimizer: optax.GradientTransformation,
    mean: np.ndarray,
    std: np.ndarray,
    side: Annotated[int, Range(8)] = 32,
    l2: Annotated[float, Range(0)] = 1.0,
    regularization: ImageRegularization = ImageRegularization(),
) -> Learner:
    """Optimize one image for each class of `{"label": [B] int32}`.

    Args:
      model: a classifier, `__call__(x) -> logits`.
      variables: variables of the model, frozen.
      optimizer: any optax transformation.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      side: side of the images in pixels.
      l2: lambda, weight of the squared norm of the standardized image.
      regularization: shifts, blur and clipping of the images.

    Returns:
      The learner, with metrics `score`, `probability`, and `norm`, ||x||^2 / HW.
    """

    check_shapes(mean=(mean, "..."), std=(std, "... > 0"))

    def initial(key, example):
        return jnp.broadcast_to(jnp.asarray(mean), (side, side, len(mean))).astype(jnp.float32)

    def targets(network, example):
        return example["label"]

    def objective(network, image, label, key):
        x = (image - mean) / std
        norm = jnp.square(x).sum(-1).mean()
        logits = model.apply(network, random_shift(x, key, regularization.jitter)[None])[0]  # [K]
        terms = {"score": logits[label], "probability": jax.nn.softmax(logits)[label], "norm": norm}
        return l2 * norm - terms["score"], terms

    return image_learner(
        optimizer=optimizer,
        network=variables,
        initial=initial,
        targets=targets,
        objective=objective,
        project=lambda image, step: blur_and_clip(image, step, mean, std, regularization),
    )
