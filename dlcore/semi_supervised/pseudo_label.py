"""Pseudo-labels, or self-training: the network's prediction is the label of an unlabeled image.

    y_u = argmax_c p'_c(x_u),   l_u = a_u CE(y_u, f(x_u)),   p' = softmax of f' without gradient

    weighting "all"         a_u = 1, the weight w(t) of the loss rises from 0
    weighting "threshold"   a_u = 1[max_c p'_c >= tau]
    weighting "confidence"  a_u = max_c p'_c

Lee 2013, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks" (ICML
workshop), labels anew at each step, f' = f, which lowers the entropy of the predictions; his w(t) rises linearly, here
it is the ramp of `two_streams`. Scudder 1965 and Yarowsky 1995 label all images once a generation: f' is then the
network as it was at the last multiple of `generation` steps, and the first generation learns from labels alone.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.semi_supervised.two_streams import (
    Networks,
    PseudoLabels,
    RampUp,
    Terms,
    augment_stream,
    ramp_up_schedule,
    snapshots,
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
    weighting: Literal["all", "threshold", "confidence"] = "all",
    threshold: Annotated[float, Range(0, 1)] = 0.95,
    generation: Annotated[int, Range(1)] = 1,
    ramp: RampUp = RampUp(3.0),
) -> Learner:
    """Train a classifier on its own pseudo-labels; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`, of labeled and unlabeled images.
      preprocess: batch of images to the model's input.
      weighting: how a guess counts: all alike, those above a threshold, or by their confidence.
      threshold: confidence tau, for weighting threshold.
      generation: steps between two labelings of the unlabeled images; 1 guesses anew at each step.
      ramp: lambda, and how it rises; with generations it is full from the second one on.

    Returns:
      The learner; it logs `mask_rate` and `impurity` of the guesses.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        view = augment_stream(augment, rng, unlabeled)
        (logits, student_logits), model_state = networks.student(labeled["image"], view)
        # A snapshot of the student labels the images; with one step a generation, the student itself does.
        teacher_logits = student_logits if generation == 1 else networks.teacher(unlabeled["image"])  # [U, C]
        # Hard pseudo-labels, no gradient.
        p = jax.lax.stop_gradient(jax.nn.softmax(teacher_logits))  # [U, C]
        confidence, label = p.max(-1), p.argmax(-1).astype(jnp.int32)  # [U], [U]
        accepted = confidence >= (threshold if weighting == "threshold" else 0)
        label_weight = confidence if weighting == "confidence" else accepted
        losses = label_weight * softmax_cross_entropy_loss(student_logits, label)  # [U]
        supervised, metrics = supervised_terms(logits, labeled)
        return Terms(supervised, model_state, metrics, losses, PseudoLabels(label, accepted))

    def later(step: jax.Array) -> jax.Array:
        return ramp.unlabeled_weight * (step >= generation).astype(jnp.float32)

    return two_stream_learner(
        model,
        optimizer,
        technique,
        preprocess=preprocess,
        augment=augment,
        weight=ramp_up_schedule(*ramp) if generation == 1 else later,
        teacher=None if generation == 1 else snapshots(generation),
    )
