"""SimSiam: a network predicts its own projection of another view; only a stop-gradient keeps it from collapse.

Chen & He 2020, arXiv:2011.10566.

    L = -1/2 cos(q(z_1), stop_gradient z_2) - 1/2 cos(q(z_2), stop_gradient z_1),   z = g(f(view))

It is BYOL without the slow target. Without the stop-gradient the loss goes to -1 at once, as all images get one
projection.
"""

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.networks import unit
from dlcore.self_supervised.siamese import Outputs, siamese_learner

__all__ = ["learner", "simsiam_losses"]


def simsiam_losses(predictions: jax.Array, projections: jax.Array, stop_gradient: bool = True) -> jax.Array:
    """Negative cosine of predictions and projections.

    Args:
      predictions: [..., D], q(z) of one view.
      projections: [..., D], z of the other view.
      stop_gradient: let no gradient pass to the projections.

    Returns:
      [...], in [-1, 1].
    """
    check_shapes(predictions=(predictions, "... D"), projections=(projections, "... D"))
    z = jax.lax.stop_gradient(projections) if stop_gradient else projections
    return -(unit(predictions) * unit(z)).sum(-1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    stop_gradient: bool = True,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features", "projections", "embeddings", "predictions"}`, see `SiameseNet`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      stop_gradient: let no gradient pass to the projections; False shows the collapse.

    Returns:
      The learner. `predict` returns `features`, `embeddings` and `untrained`.
    """

    def compare(outputs: Outputs, batch: dict) -> tuple[jax.Array, Metrics]:
        first, second = outputs
        # Each view predicts the projection of the other.
        losses = simsiam_losses(first["predictions"], second["projections"], stop_gradient) / 2
        losses += simsiam_losses(second["predictions"], first["projections"], stop_gradient) / 2  # [B]
        mask = mask_of(batch)
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    return siamese_learner(model, optimizer, augment, preprocess, compare)
