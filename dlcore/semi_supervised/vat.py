"""Virtual adversarial training (VAT): the prediction is smoothed in the direction in which it changes most.

Miyato, Maeda, Koyama & Ishii 2018, arXiv:1704.03976.

    l_u = KL(p(x_u) || p(x_u + epsilon d)),   d = argmax_{|d| = 1} KL(p(x_u) || p(x_u + epsilon d))
    d <- g / |g|,   g = grad_r KL(p(x_u) || p(x_u + r)) at r = xi |x_u| d

The divergence and its gradient are 0 at r = 0, where its Hessian is the Fisher matrix J' (diag p - p p') J: the
iteration is the power method for its top eigenvector, from a random d. xi is relative to the image's norm (the
paper's 1e-6 is lost to rounding in float32). p(x_u) and d have stop_gradient; labeled and unlabeled images pass
through the network separately, and only the labeled ones update the batch statistics, as in the authors' program.
With entropy_weight the conditional entropy of p(x_u) is added (Grandvalet & Bengio 2004), the paper's VAT+EntMin.
"""

from collections.abc import Callable
from numbers import Real
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import entropy_loss, kl_divergence_loss
from dlcore.ops import l2_normalize
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.semi_supervised.two_streams import (
    Networks,
    RampUp,
    Terms,
    augment_stream,
    ramp_up_schedule,
    supervised_terms,
    two_stream_learner,
)

__all__ = ["adversarial_direction", "learner"]


def adversarial_direction(
    logits: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    rng: jax.Array,
    xi: float | jax.Array = 0.01,
    iterations: int = 1,
) -> jax.Array:
    """Find the direction of each image in which its prediction changes most, by the power method.

    Args:
      logits: images -> [U, C].
      images: [U, ...].
      rng: PRNG key of the initial direction.
      xi: step of the finite difference, relative to an image's norm.
      iterations: number of power iterations.

    Returns:
      Like `images`, of norm 1 for each.
    """
    check_shapes(xi=(xi, "> 0"), iterations=(iterations, "int >= 0"))
    images, dtype = to_acc_dtype(images), result_dtype(images)
    clean_probs = jax.nn.softmax(logits(images))

    def divergence(r: jax.Array) -> jax.Array:
        return kl_divergence_loss(logits(images + r), clean_probs).sum()

    # Power iteration from a random direction.
    axes = tuple(range(1, images.ndim))
    length = xi * jnp.sqrt(jnp.square(images).sum(axes, keepdims=True))  # relative to the norm of each image
    d = l2_normalize(jax.random.normal(rng, images.shape), axes, 0)
    for _ in range(iterations):
        d = l2_normalize(jax.grad(divergence)(length * d), axes, 0)
    return d.astype(dtype)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda image: image,
    epsilon: Annotated[float, Range(0)] = 8.0,
    xi: Annotated[float, Range(1e-6, 1)] = 0.01,
    iterations: Annotated[int, Range(1)] = 1,
    entropy_weight: Annotated[float, Range(0)] = 0.0,
    ramp: RampUp = RampUp(),
) -> Learner:
    """Train a classifier by VAT; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`.
      preprocess: batch of images to the model's input.
      epsilon: length of the perturbation, in the model's input.
      xi: step of the finite difference, relative to an image's norm.
      iterations: number of power iterations.
      entropy_weight: weight of the entropy of the unlabeled predictions.
      ramp: lambda, and how it rises.

    Returns:
      The learner.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        view = augment_stream(augment, jax.random.fold_in(rng, 0), unlabeled)
        (logits,), model_state = networks.student(labeled["image"])
        # Clean prediction, no gradient.
        clean_probs = jax.nn.softmax(networks.current(view))  # [U, C]
        # Direction of greatest change, by the power method.
        d = adversarial_direction(networks.current, view, jax.random.fold_in(rng, 1), xi, iterations)
        # KL divergence of the perturbed prediction (local distributional smoothness).
        (perturbed_logits,), _ = networks.student(view + epsilon * d)  # [U, C]
        losses = kl_divergence_loss(perturbed_logits, clean_probs)  # [U]
        # Entropy minimization (VAT+EntMin).
        if not (isinstance(entropy_weight, Real) and entropy_weight == 0):
            (clean_logits,), _ = networks.student(view)
            losses += entropy_weight * entropy_loss(clean_logits)
        supervised, metrics = supervised_terms(logits, labeled)
        return Terms(supervised, model_state, metrics, losses)

    return two_stream_learner(
        model, optimizer, technique, preprocess=preprocess, augment=augment, weight=ramp_up_schedule(*ramp)
    )
