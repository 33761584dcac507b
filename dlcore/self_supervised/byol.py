"""BYOL (bootstrap your own latent): a network predicts what its own slow average says of another view of the image.

Grill et al. 2020, arXiv:2006.07733.

    L = 2 - 2 cos(q(z_1), z'_2) + 2 - 2 cos(q(z_2), z'_1),   z = g(f(view; w)),  z' = stop_gradient g(f(view; w'))
    w' <- m w' + (1 - m) w,   m from m_0 to 1 by a cosine

There are no negatives. That all images do not get one projection is due to the predictor q and to the slow target: a
network without a predictor collapses. The paper trains with LARS on batches of 4,096; here any optimizer.
"""

from collections.abc import Callable

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.checks import check_shapes
from dlcore.ops.l2_normalize import cosine_distance
from dlcore.self_supervised.siamese import Outputs, momentum_learner

__all__ = ["byol_losses", "learner"]


def byol_losses(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared distance of predictions and targets, both of length 1: 2 - 2 cos.

    Args:
      predictions: [..., D], q(z).
      targets: [..., D], z'; no gradient passes.

    Returns:
      [...], in [0, 4].
    """
    check_shapes(predictions=(predictions, "... D"), targets=(targets, "... D"))
    return 2 * cosine_distance(predictions, jax.lax.stop_gradient(targets))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    momentum: Callable[[jax.Array], jax.Array] = lambda step: 0.996,
    preprocess: Preprocess = lambda images: images,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features", "projections", "embeddings", "predictions"}`, see `SiameseNet`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      momentum: step -> m in [0, 1], such as `cosine_momentum` of `dlcore.optim.ema`.
      preprocess: batch of views to the model's input.

    Returns:
      The learner. `predict` returns the online network's `features` and `embeddings`, and `untrained`.
    """

    def compare(outputs: Outputs, targets: Outputs, batch: dict) -> tuple[jax.Array, Metrics]:
        (first, second), (first_target, second_target) = outputs, targets
        # Each view predicts the target's projection of the other.
        losses = byol_losses(first["predictions"], second_target["projections"])
        losses += byol_losses(second["predictions"], first_target["projections"])  # [B]
        mask = mask_of(batch)
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    return momentum_learner(model, optimizer, augment, preprocess, compare, momentum)
