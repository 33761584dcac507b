"""Barlow Twins: the cross-correlation of two views' projections becomes the identity matrix.

Zbontar, Jing, Misra, LeCun & Deny 2021, arXiv:2103.03230.

    C_ij = mean over images of u_i v_j,   u, v the projections of the two views, standardized over the batch
    L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2

The diagonal makes projections alike for all views of an image, the rest makes their numbers independent, so that they
cannot be equal for all images. The statistics are over the examples of all devices. The paper trains with LARS on
batches of 2,048 and projections of 8,192 numbers; here any optimizer.
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

__all__ = ["barlow_twins_loss", "cross_correlation", "learner"]


def cross_correlation(a: jax.Array, b: jax.Array, mask: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Correlate the projections of two views over the examples of all devices.

    Args:
      a: [B, D], projections of the first views.
      b: [B, D], projections of the second views.
      mask: [B], 0 for padding.
      epsilon: added to the variances.

    Returns:
      C [D, D], in [-1, 1].
    """
    check_shapes(a=(a, "B D"), b=(b, "B D"), epsilon=(epsilon, ">= 0"))

    def standardize(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        centered, count = center_batch(z, mask)
        variance = psum(jnp.square(centered).sum(0)) / count
        return centered * jax.lax.rsqrt(variance + epsilon), count

    (u, count), (v, _) = standardize(a), standardize(b)
    return psum(u.T @ v) / count


def barlow_twins_loss(correlation: jax.Array, redundancy_weight: float | jax.Array = 0.0051) -> jax.Array:
    """Distance of a cross-correlation matrix from the identity.

    Args:
      correlation: C [D, D].
      redundancy_weight: lambda, weight of what is off the diagonal.

    Returns:
      Scalar.
    """
    check_shapes(correlation=(correlation, "D D"), redundancy_weight=(redundancy_weight, ">= 0"))
    # The difference from 1 where it is the diagonal's, and from 0 elsewhere.
    is_diagonal = jnp.eye(len(correlation), dtype=bool)
    squares = jnp.square(to_acc_dtype(correlation) - is_diagonal)
    return jnp.where(is_diagonal, squares, redundancy_weight * squares).sum()


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    redundancy_weight: Annotated[float, Range(0)] = 0.0051,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features", "projections", "embeddings"}`, see `SiameseNet`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      redundancy_weight: lambda, weight of what is off the diagonal.

    Returns:
      The learner. The loss is a measure of a whole batch, so it depends on the batch's size. `predict` returns
      `features`, `embeddings` and `untrained`.
    """

    def compare(outputs: Outputs, batch: dict) -> tuple[jax.Array, Metrics]:
        first, second = (view["projections"] for view in outputs)
        mask = mask_of(batch)
        # Cross-correlation over the batch of all devices.
        correlation = cross_correlation(first, second, mask)  # [D, D]
        mean = barlow_twins_loss(correlation, redundancy_weight)
        on_diagonal = jnp.diagonal(correlation).mean()
        metrics = {"loss": mean, "on_diagonal": on_diagonal}
        return mean, {name: Sum.of(jnp.full(mask.shape, value), mask) for name, value in metrics.items()}

    return siamese_learner(model, optimizer, augment, preprocess, compare)
