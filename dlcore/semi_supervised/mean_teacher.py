"""Mean teacher: consistency between a student and an EMA teacher.

Tarvainen & Valpola 2017, arXiv:1703.01780.

    theta' <- d theta' + (1 - d) theta                              weights and batch statistics, after each step
    l_u = 1/C || softmax f(x_u, eta; theta) - softmax f(x_u, eta'; theta') ||^2

The distance is that of two predictions, for two views with noise eta and eta' (augmentation and dropout), never that of
the weights. The teacher takes no gradient and is what is measured. Labeled and unlabeled images pass the student apart:
batch norm then shows it the same kind of batch as the teacher, and only the labeled images move the batch statistics.
"""

from typing import Annotated, Any

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
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
    ramp: RampUp = RampUp(100.0),
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.999,
) -> Learner:
    """Train a student and its mean teacher; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`, drawn anew for student and teacher.
      preprocess: batch of images to the model's input.
      ramp: lambda, and how it rises.
      ema_decay: d of the teacher.

    Returns:
      The learner.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        # Two independently augmented views of each unlabeled image.
        first, second = (augment_stream(augment, jax.random.fold_in(rng, k), unlabeled) for k in range(2))
        (logits,), model_state = networks.student(labeled["image"])
        (student_logits,), _ = networks.student(first)  # [U, C]
        # Teacher forward on the second view, no gradient.
        target = jax.nn.softmax(networks.teacher(second))  # [U, C]
        losses = mean_squared(jax.nn.softmax(student_logits), target)  # [U]
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
