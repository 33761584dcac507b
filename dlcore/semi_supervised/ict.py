"""Interpolation consistency: between two images a network predicts what lies between its two predictions.

Verma, Kawaguchi, Lamb, Kannala, Solin, Bengio & Lopez-Paz 2019, arXiv:1903.03825.

    x = lam x_u + (1 - lam) x_v,   q = lam p'(x_u) + (1 - lam) p'(x_v),   lam ~ Beta(alpha, alpha)
    l_u = 1/C || softmax f(x) - q ||^2

p' is the prediction of the mean teacher, x_v another image of the batch. A network that is linear between images, as
far as its predictions go, has no such loss. The paper draws one lam for a batch; here each image draws its own.
Labeled and mixed images pass the student apart, as in `dlcore.semi_supervised.pi_model`.
"""

from typing import Annotated, Any

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.augment.mixing import mixup
from dlcore.learner import Learner, Range, check_arguments, mask_of
from dlcore.semi_supervised.two_streams import (
    Networks,
    RampUp,
    Terms,
    augment_stream,
    averaging,
    mean_squared,
    ramp_up_schedule,
    supervised_terms,
    two_stream_learner,
)

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda image: image,
    alpha: Annotated[float, Range(0)] = 1.0,
    ramp: RampUp = RampUp(100.0),
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.999,
) -> Learner:
    """Train a classifier by interpolation consistency; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`.
      preprocess: batch of images to the model's input.
      alpha: parameter of Beta(alpha, alpha), the distribution of mixing ratios; 0 mixes nothing.
      ramp: lambda, and how it rises.
      ema_decay: EMA decay rate of the teacher.

    Returns:
      The learner.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        # Teacher forward, no gradient: the target is a mixture of its predictions.
        view = augment_stream(augment, jax.random.fold_in(rng, 0), unlabeled)
        target = jax.nn.softmax(networks.teacher(view))  # [U, C]
        mixed, target = mixup(jax.random.fold_in(rng, 1), view, target, alpha, mask_of(unlabeled))
        (logits,), model_state = networks.student(labeled["image"])
        # Student forward on the mixed images.
        (mixed_logits,), _ = networks.student(mixed)  # [U, C]
        losses = mean_squared(jax.nn.softmax(mixed_logits), target)  # [U]
        supervised, metrics = supervised_terms(logits, labeled)
        return Terms(supervised, model_state, metrics, losses)

    return two_stream_learner(
        model,
        optimizer,
        technique,
        preprocess=preprocess,
        augment=augment,
        weight=ramp_up_schedule(*ramp),
        teacher=averaging(ema_decay),
    )
