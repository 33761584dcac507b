"""MixMatch: pseudo-labels averaged over views and sharpened, and mixup of all images with all.

Berthelot, Carlini, Goodfellow, Papernot, Oliver & Raffel 2019, arXiv:1905.02249.

    q_u = sharpen(1/K sum_k softmax f(view_k(x_u))),   sharpen(p)_c = p_c^{1/T} / sum_d p_d^{1/T}
    W   = all labeled views with their labels and all K unlabeled views with q_u, in a random order
    X'  = mixup(labeled, W),   U' = mixup(unlabeled views, W),   lam' = max(lam, 1 - lam), lam ~ Beta(alpha, alpha)
    l_b = CE(label', f(x')),   l_u = 1/K sum_k 1/C || softmax f(u'_k) - q'_k ||^2

A guess takes no gradient. T -> 0 makes it one-hot. The authors interleave labeled and unlabeled images so that batch
norm sees both in each of several forward passes; here one forward pass sees them all.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.augment.mixing import mixup
from dlcore.learner import Learner, Range, Sum, check_arguments, mask_of
from dlcore.ops.checks import check_probabilities, check_range, check_shapes, describe_array
from dlcore.semi_supervised.two_streams import (
    Networks,
    RampUp,
    Terms,
    augment_stream,
    averaging,
    mean_squared,
    ramp_up_schedule,
    two_stream_learner,
)

__all__ = ["learner", "sharpen"]


def sharpen(p: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """Raise probabilities to the power 1 / temperature.

    Args:
      p: [..., C], probabilities.
      temperature: T > 0; 1 leaves them, small ones make them one-hot.

    Returns:
      [..., C], probabilities.
    """
    if not jnp.issubdtype(jnp.result_type(p), jnp.floating):
        raise ValueError(f"p={describe_array(p)}: no probabilities; allowed: floats in [0, 1]")
    check_shapes(temperature=(temperature, "> 0"))
    check_range("p", p, 0, 1)
    check_probabilities("p", p)
    return jax.nn.softmax(jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)) / temperature)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda image: image,
    num_views: Annotated[int, Range(1)] = 2,
    temperature: Annotated[float, Range(1e-3, 1)] = 0.5,
    alpha: Annotated[float, Range(0)] = 0.75,
    ramp: RampUp = RampUp(75.0),
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.999,
) -> Learner:
    """Train a classifier by MixMatch; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`, drawn anew for each view.
      preprocess: batch of images to the model's input.
      num_views: K, of an unlabeled image.
      temperature: T.
      alpha: parameter of Beta(alpha, alpha), the distribution of mixing ratios; 0 mixes nothing.
      ramp: lambda, and how it rises.
      ema_decay: EMA decay rate of the teacher, which is evaluated.

    Returns:
      The learner; its training loss is that of mixed labels.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        # Label guessing: mean prediction over the views, sharpened.
        views = [augment_stream(augment, jax.random.fold_in(rng, k), unlabeled) for k in range(num_views)]
        unlabeled_logits = networks.current(jnp.concatenate(views))
        q = sharpen(
            jax.nn.softmax(unlabeled_logits).reshape(num_views, -1, unlabeled_logits.shape[-1]).mean(0), temperature
        )
        count, mask = len(labeled["image"]), mask_of(unlabeled)
        labeled_mask = mask_of(labeled)
        # MixUp across labeled images and all unlabeled views.
        images = jnp.concatenate([labeled["image"], *views])  # [B + K U, H, W, C]
        targets = jnp.concatenate([jax.nn.one_hot(labeled["label"], q.shape[-1]), *[q] * num_views])
        real = jnp.concatenate([labeled_mask, *[mask] * num_views])
        images, targets = mixup(jax.random.fold_in(rng, num_views), images, targets, alpha, real, keep_most=True)
        # Cross-entropy of labeled mixtures, squared error of unlabeled ones.
        (logits,), model_state = networks.student(images)  # [B + K U, C]
        supervised = optax.safe_softmax_cross_entropy(logits[:count], targets[:count])  # [B]
        losses = mean_squared(jax.nn.softmax(logits[count:]), targets[count:]).reshape(num_views, -1).mean(0)  # [U]
        return Terms(supervised, model_state, {"loss": Sum.of(supervised, labeled_mask)}, losses)

    return two_stream_learner(
        model,
        optimizer,
        technique,
        preprocess=preprocess,
        augment=augment,
        weight=ramp_up_schedule(*ramp),
        teacher=averaging(ema_decay),
    )
