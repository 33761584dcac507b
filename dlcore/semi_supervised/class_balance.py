"""Classes of pseudo-labels in balance: running means of each class, distribution alignment, and class thresholds.

    alignment    q <- normalize(q p / q~),   q~ the running mean of q, p uniform
    thresholds   tau_c = tau s_c / (2 - s_c),   s_c = n_c / max_c n_c

Berthelot et al. 2020, arXiv:1911.09785 (ReMixMatch); Zhang et al. 2021, arXiv:2110.08263 (FlexMatch). n_c is the
running fraction of images whose pseudo-label is c with confidence tau; FlexMatch counts the last one of each image.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.ops.replica import psum

__all__ = ["align_distribution", "class_thresholds", "init_class_means", "running_mean"]

DECAY = 0.99
"""Share of the running means that a step keeps."""


def init_class_means(num_classes: int) -> dict[str, jax.Array]:
    """Start the running means: classes are equally frequent, and no pseudo-label is confident.

    Args:
      num_classes: C.

    Returns:
      {"mean": [C] of the predicted distribution, "confident": [C], the fraction of images with a confident pseudo-label
      of each class}.
    """
    check_shapes(num_classes=(num_classes, "int >= 1"))
    return {"mean": jnp.full(num_classes, 1 / num_classes, jnp.float32), "confident": jnp.zeros(num_classes)}


def running_mean(mean: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """Move a running mean over the unlabeled stream by one step, with the images of all replicas.

    Args:
      mean: [C], before the step.
      values: [U, C], which take no gradient.
      mask: [U], 0 for padding.

    Returns:
      [C]; as it was where no image counts.
    """
    check_shapes(mean=(mean, "C"), values=(values, "U C"), mask=(mask, "mask U"))
    mean, dtype, is_valid = to_acc_dtype(mean), result_dtype(mean), mask > 0
    total = jnp.where(is_valid[:, None], to_acc_dtype(values), 0).sum(0)  # [C]
    total, count = psum((total, is_valid.sum()))
    new = DECAY * mean + (1 - DECAY) * total / jnp.maximum(count, 1)
    return jnp.where(count > 0, new, mean).astype(dtype)


def align_distribution(probabilities: jax.Array, mean: jax.Array) -> jax.Array:
    """Align pseudo-label probabilities to a uniform class distribution.

    Args:
      probabilities: [U, C], softmax of the weak view.
      mean: [C], running mean of probabilities.

    Returns:
      aligned probabilities [U, C]; uniform where all of an image are 0.
    """
    check_shapes(probabilities=(probabilities, "U C"), mean=(mean, "C"))
    check_range("probabilities", probabilities, 0, 1)
    check_range("mean", mean, 0, 1)
    scaled = probabilities / jnp.maximum(mean * mean.shape[-1], 1e-6)
    total = scaled.sum(-1, keepdims=True)
    return jnp.where(total > 0, scaled / jnp.where(total > 0, total, 1), 1 / mean.shape[-1])


def class_thresholds(threshold: float | jax.Array, confident: jax.Array) -> jax.Array:
    """Lower the threshold of classes with fewer confident pseudo-labels than others.

    Args:
      threshold: tau, the confidence that the leading class must reach.
      confident: [C], running fraction of images with a confident pseudo-label of each class.

    Returns:
      [C]; tau for the class that leads, and for all while there is no confident pseudo-label.
    """
    check_shapes(confident=(confident, "C"), classes=(len(confident), ">= 1"))
    check_range("confident", confident, 0, 1)
    check_shapes(threshold=(threshold, "0 to 1"))
    lead = confident.max()
    learning_effect = jnp.where(lead > 0, confident / jnp.where(lead > 0, lead, 1), 1)  # [C]
    return threshold * learning_effect / (2 - learning_effect)
