"""MoCo v3 (momentum contrast without a queue): predictions are matched with an EMA target's keys of the same batch.

Chen, Xie & He 2021, arXiv:2104.02057.

    ctr(q, k) = -2 tau log e^{q_i k_i / tau} / sum_j e^{q_i k_j / tau},   q = p(g(f(view; w))),  k = g(f(view; w'))
    L = ctr(q_1, k_2) + ctr(q_2, k_1),   w' <- m w' + (1 - m) w

p is the predictor; q and k have length 1; the keys of all devices are the negatives. The loss differs from MoCo's by
its symmetry, by the predictor and by the batch in place of the queue. A ViT's patch embedding stays at its initial
weights, which the paper found to prevent dips of the accuracy in training; other networks have none to freeze.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.self_supervised.networks import unit
from dlcore.self_supervised.siamese import Outputs, contrast_batch, momentum_learner

__all__ = ["freeze_patch_embedding", "learner"]

PATCH_EMBEDDING = "patch_embed"
"""Name of a ViT's patch embedding among its parameters."""


def freeze_patch_embedding(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Leave the patch embedding of a ViT at its initial weights, with weight decay too.

    Args:
      optimizer: optax transformation of the other parameters.

    Returns:
      The transformation.
    """

    def labels(params: Any) -> Any:
        def label(path: tuple, _: Any) -> str:
            return "frozen" if any(getattr(key, "key", None) == PATCH_EMBEDDING for key in path) else "trained"

        return jax.tree_util.tree_map_with_path(label, params)

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    momentum: Callable[[jax.Array], jax.Array] = lambda step: 0.99,
    preprocess: Preprocess = lambda images: images,
    temperature: Annotated[float, Range(1e-3)] = 0.2,
    frozen_patches: bool = True,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features", "projections", "embeddings", "predictions"}`, see `SiameseNet`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      momentum: step -> m in [0, 1], such as `cosine_momentum` of `dlcore.optim.ema`.
      preprocess: batch of views to the model's input.
      temperature: tau, by which cosines are divided.
      frozen_patches: leave a ViT's patch embedding at its initial weights.

    Returns:
      The learner. `evaluate` contrasts with the other images of the same batch, so its loss depends on the batch's
      size. `predict` returns the online network's `features` and `embeddings`, and `untrained`.
    """

    def compare(outputs: Outputs, targets: Outputs, batch: dict) -> tuple[jax.Array, Metrics]:
        mask, losses, is_nearest = mask_of(batch), 0.0, 0.0
        for view, target in zip(outputs, targets[::-1], strict=True):
            # Each view's prediction against the target's keys of the other views.
            keys = jax.lax.stop_gradient(target["embeddings"])  # [B, D]
            of_view, correct = contrast_batch(unit(view["predictions"]), keys, temperature, mask)
            losses, is_nearest = losses + 2 * temperature * of_view, is_nearest + correct / 2
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask), "accuracy": Sum.of(is_nearest, mask)}

    optimizer = freeze_patch_embedding(optimizer) if frozen_patches else optimizer
    return momentum_learner(model, optimizer, augment, preprocess, compare, momentum)
