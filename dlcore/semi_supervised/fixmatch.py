"""FixMatch: the confident pseudo-label of the weak view is the label of the strong view.

Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang & Raffel 2020, arXiv:2001.07685.

    q_u = softmax f(weak(x_u)),   no gradient
    l_u = 1[max_c q_uc >= tau] CE(argmax_c q_uc, f(strong(x_u)))

Pseudo-labels come from the student; the EMA teacher is used for evaluation. Options:

    distribution alignment   q <- normalize(q p / q~), q~ the running mean of q, p uniform (Berthelot et al. 2020,
                             arXiv:1911.09785)
    thresholds "class"       tau_c = tau s_c / (2 - s_c), s_c = n_c / max_c n_c, n_c the running fraction of images
                             whose pseudo-label is c with confidence tau: classes learned slowly get a lower threshold
                             (FlexMatch, Zhang et al. 2021, arXiv:2110.08263, which counts the last pseudo-label of each
                             image instead)
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.replica import pmean
from dlcore.semi_supervised.two_streams import (
    Networks,
    PseudoLabels,
    Terms,
    augmented,
    averaging,
    ramped,
    supervised_terms,
    two_stream_learner,
)

__all__ = ["aligned", "class_thresholds", "learner"]

RUNNING = 0.99
"""Share of the running means that a step keeps."""


def aligned(probabilities: jax.Array, mean: jax.Array) -> jax.Array:
    """Align pseudo-label probabilities to a uniform class distribution.

    Args:
      probabilities: [U, C], softmax of the weak view.
      mean: [C], running mean of probabilities.

    Returns:
      aligned probabilities [U, C].
    """
    scaled = probabilities / jnp.maximum(mean * mean.shape[-1], 1e-6)
    return scaled / scaled.sum(-1, keepdims=True)


def class_thresholds(threshold: float | jax.Array, confident: jax.Array) -> jax.Array:
    """Lower the threshold of classes with fewer confident pseudo-labels than others.

    Args:
      threshold: tau, the confidence that the leading class must reach.
      confident: [C], running fraction of images with a confident pseudo-label of each class.

    Returns:
      [C]; tau for the class that leads, and for all while there is no confident pseudo-label.
    """
    lead = confident.max()
    learning_effect = jnp.where(lead > 0, confident / jnp.where(lead > 0, lead, 1), 1)  # [C]
    return threshold * learning_effect / (2 - learning_effect)


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
      ema_decay: of the teacher, which is measured.

    Returns:
      The learner; it logs `mask_rate`, the fraction of accepted pseudo-labels, and `impurity`.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        # Weak and strong views of the unlabeled images, through the student in one batch with the labeled ones.
        weak_view = augmented(augment, jax.random.fold_in(rng, 0), unlabeled)
        strong_view = augmented(strong, jax.random.fold_in(rng, 1), unlabeled)
        (logits, weak_logits, strong_logits), model_state = networks.student(labeled["image"], weak_view, strong_view)
        # Pseudo-label distribution from the weak view, no gradient.
        q, mask = jax.lax.stop_gradient(jax.nn.softmax(weak_logits)), mask_of(unlabeled)  # [U, C], [U]
        mean = _running(memory["mean"], q, mask)  # [C]
        q = aligned(q, mean) if alignment else q
        confidence, pseudo_label = q.max(-1), q.argmax(-1).astype(jnp.int32)  # [U], [U]
        # FlexMatch counts confident pseudo-labels of each class at the fixed threshold.
        confident_labels = jax.nn.one_hot(pseudo_label, q.shape[-1]) * (confidence >= threshold)[:, None]  # [U, C]
        confident = _running(memory["confident"], confident_labels, mask)
        # Only pseudo-labels above the threshold are learned from.
        tau = class_thresholds(threshold, memory["confident"])[pseudo_label] if thresholds == "class" else threshold
        accepted = confidence >= tau
        # Cross-entropy of the strong view against the weak view's pseudo-label.
        losses = accepted * optax.softmax_cross_entropy_with_integer_labels(strong_logits, pseudo_label)  # [U]
        supervised, metrics = supervised_terms(logits, labeled)
        pseudo, memory = PseudoLabels(pseudo_label, accepted), {"mean": mean, "confident": confident}
        return Terms(supervised, model_state, metrics, losses, pseudo, memory)

    def memory(num_classes: int) -> dict[str, jax.Array]:
        return {"mean": jnp.full(num_classes, 1 / num_classes, jnp.float32), "confident": jnp.zeros(num_classes)}

    return two_stream_learner(
        model,
        optimizer,
        technique,
        preprocess=preprocess,
        augment=augment,
        weight=ramped(unlabeled_weight),
        teacher=averaging(ema_decay),
        memory=memory,
    )


def _running(mean: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """The running mean over the unlabeled stream, after a step; it takes no gradient."""
    new = pmean(jax.vmap(masked_mean, in_axes=(1, None))(values, mask))
    return RUNNING * mean + (1 - RUNNING) * new.astype(mean.dtype)
