"""VICReg (variance-invariance-covariance regularization): views agree, every number varies, no two vary together.

Bardes, Ponce & LeCun 2021, arXiv:2105.04906.

    L = lambda s(Z, Z') + mu (v(Z) + v(Z')) + nu (c(Z) + c(Z'))         Z, Z': projections [N, D] of the two views
    s = mean over images and numbers of (z - z')^2                      invariance
    v = 1/D sum_j max(0, 1 - sqrt(Var(z_j) + epsilon))                  variance: a hinge on every number's deviation
    c = 1/D sum_{i != j} Cov(z_i, z_j)^2                                covariance

Variances and covariances are over the examples of all devices, by N - 1. As in the authors' program, which the default
weights are of, s is also a mean over the D numbers; the variance term is the paper's sum over both views, where the
program halves it: `variance_weight=12.5` gives the program's loss. Without it all images get one projection.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, mask_of
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import psum
from dlcore.self_supervised.siamese import Outputs, center_batch, siamese_learner

__all__ = ["learner", "vicreg_terms"]


def vicreg_terms(a: jax.Array, b: jax.Array, mask: jax.Array, epsilon: float = 1e-4) -> tuple[jax.Array, ...]:
    """Compute the three terms over the examples of all devices.

    Args:
      a: [B, D], projections of the first views.
      b: [B, D], projections of the second views.
      mask: [B], 0 for padding.
      epsilon: added to the variances, whose root has a slope.

    Returns:
      (invariance s, variance v(Z) + v(Z'), covariance c(Z) + c(Z')), scalars.
    """
    check_shapes(a=(a, "B D"), b=(b, "B D"), mask=(mask, "mask B"), epsilon=(epsilon, ">= 0"))
    width = a.shape[1]

    def spread(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        centered, count = center_batch(z, mask)
        covariance = psum(centered.T @ centered) / jnp.maximum(count - 1, 1)  # [D, D]
        variances = jnp.diagonal(covariance)
        hinge = jax.nn.relu(1 - jnp.sqrt(variances + epsilon)).mean()
        return hinge, jnp.square(covariance * (1 - jnp.eye(width))).sum() / width

    is_valid = (mask > 0)[:, None]
    difference = jnp.where(is_valid, to_acc_dtype(a), 0) - jnp.where(is_valid, to_acc_dtype(b), 0)
    total, count = psum((jnp.square(difference).sum(), is_valid.sum()))
    (first_hinge, first_covariance), (second_hinge, second_covariance) = spread(a), spread(b)
    invariance = total / (width * jnp.maximum(count, 1))
    return invariance, first_hinge + second_hinge, first_covariance + second_covariance


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    invariance_weight: Annotated[float, Range(0)] = 25.0,
    variance_weight: Annotated[float, Range(0)] = 25.0,
    covariance_weight: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features", "projections", "embeddings"}`, see `SiameseNet`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      invariance_weight: lambda.
      variance_weight: mu; 0 shows the collapse.
      covariance_weight: nu.

    Returns:
      The learner. The loss is a measure of a whole batch, so it depends on the batch's size. `predict` returns
      `features`, `embeddings` and `untrained`.
    """

    def compare(outputs: Outputs, batch: dict) -> tuple[jax.Array, Metrics]:
        first, second = (view["projections"] for view in outputs)
        mask = mask_of(batch)
        # Invariance, variance and covariance over the batch of all devices.
        invariance, variance, covariance = vicreg_terms(first, second, mask)
        mean = invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
        metrics = {"loss": mean, "invariance": invariance, "variance": variance, "covariance": covariance}
        return mean, {name: Sum.of(jnp.full(mask.shape, value), mask) for name, value in metrics.items()}

    return siamese_learner(model, optimizer, augment, preprocess, compare)
