"""FixMatch: the confident pseudo-label of the weak view is the label of the strong view.

Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang & Raffel 2020, arXiv:2001.07685.

    q_u = softmax f(weak(x_u)),   no gradient
    l_u = 1[max_c q_uc >= tau] CE(argmax_c q_uc, f(strong(x_u)))

Pseudo-labels come from the student; the EMA teacher is used for evaluation. Options, as
`dlcore.semi_supervised.class_balance` describes them:

    alignment            q is aligned to equally frequent classes (ReMixMatch's distribution alignment)
    thresholds "class"   tau_c <= tau: classes that are learned slowly get a lower threshold (FlexMatch)
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.semi_supervised.class_balance import align_distribution, class_thresholds, init_class_means, running_mean
from dlcore.semi_supervised.two_streams import (
    Networks,
    PseudoLabels,
    Terms,
    augment_stream,
    averaging,
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
    strong: Augmentation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda image: image,
    threshold: Annotated[float, Range(0, 1)] = 0.95,
    thresholds: Literal["one", "class"] = "one",
    alignment: bool = False,
    unlabeled_weight: Annotated[float, Range(0)] = 1.0,
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.999,
) -> Learner:
    """Train a classifier by FixMatch; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      strong: `(key, preprocessed image) -> image`, the view that learns.
      augment: `(key, preprocessed image) -> image`, the weak view.
      preprocess: batch of images to the model's input.
      threshold: confidence tau that a pseudo-label must reach.
      thresholds: one for all classes, or lower for a class that is learned slowly.
      alignment: divide probabilities by their running mean, for classes that are equally frequent.
      unlabeled_weight: lambda.
      ema_decay: EMA decay rate of the teacher, which is evaluated.

    Returns:
      The learner; it logs `mask_rate`, the fraction of accepted pseudo-labels, and `impurity`.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        # Weak and strong views of the unlabeled images, through the student in one batch with the labeled ones.
        weak_view = augment_stream(augment, jax.random.fold_in(rng, 0), unlabeled)
        strong_view = augment_stream(strong, jax.random.fold_in(rng, 1), unlabeled)
        (logits, weak_logits, strong_logits), model_state = networks.student(labeled["image"], weak_view, strong_view)
        # Pseudo-label distribution from the weak view, no gradient.
        q, mask = jax.lax.stop_gradient(jax.nn.softmax(weak_logits)), mask_of(unlabeled)  # [U, C], [U]
        mean = running_mean(memory["mean"], q, mask)  # [C]
        q = align_distribution(q, mean) if alignment else q
        confidence, pseudo_label = q.max(-1), q.argmax(-1).astype(jnp.int32)  # [U], [U]
        # FlexMatch counts confident pseudo-labels of each class at the fixed threshold.
        confident_labels = jax.nn.one_hot(pseudo_label, q.shape[-1]) * (confidence >= threshold)[:, None]  # [U, C]
        confident = running_mean(memory["confident"], confident_labels, mask)
        # Only pseudo-labels above the threshold are learned from.
        tau = class_thresholds(threshold, memory["confident"])[pseudo_label] if thresholds == "class" else threshold
        accepted = confidence >= tau
        # Cross-entropy of the strong view against the weak view's pseudo-label.
        losses = accepted * softmax_cross_entropy_loss(strong_logits, pseudo_label)  # [U]
        supervised, metrics = supervised_terms(logits, labeled)
        pseudo, memory = PseudoLabels(pseudo_label, accepted), {"mean": mean, "confident": confident}
        return Terms(supervised, model_state, metrics, losses, pseudo, memory)

    return two_stream_learner(
        model,
        optimizer,
        technique,
        preprocess=preprocess,
        augment=augment,
        weight=ramp_up_schedule(unlabeled_weight),
        teacher=averaging(ema_decay),
        memory=init_class_means,
    )
