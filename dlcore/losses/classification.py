"""Losses of class scores.

    softmax:                p_c = e^{s_c - max s} / sum_j e^{s_j - max s}
    softmax cross-entropy:  L = -sum_c w_c q_c log p_c,   q = (1 - eps) onehot(y) + eps / C
    binary cross-entropy:   L = -sum_c [v y_c log p_c + (1 - y_c) log(1 - p_c)],   p = sigmoid(s)
    multi-class hinge:      L = sum_{j != y} max(0, s_j - s_y + m)
    squared hinge:          L = sum_{j != y} max(0, s_j - s_y + m)^2

Bridle 1990; label smoothing eps is Szegedy et al. 2016 (arXiv:1512.00567); the hinge is Weston & Watkins 1999, and its
sum over classes is C times torch's. `optax.multiclass_hinge_loss` is another function: Crammer & Singer's, which has
max_j in place of the sum. Some lectures lose the minus sign of the binary cross-entropy, or the one of the hinge.
All are computed in at least float32. With classes as labels the softmax cross-entropy is

    L = log(1 + sum_{j != y} e^{s_j - s_y})

so that neither a number added to all scores nor a large margin takes digits of the loss or its gradient.
"""

from numbers import Real

import jax
import jax.numpy as jnp
import optax
from jax.nn import log_softmax, softmax

from dlcore.ops.checks import check_class_ids, check_probabilities, check_range, check_shapes, describe_array
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.safe_product import safe_product

__all__ = [
    "binary_cross_entropy_loss",
    "log_softmax",
    "multiclass_hinge_loss",
    "softmax",
    "softmax_cross_entropy_loss",
    "squared_hinge_loss",
]


def softmax_cross_entropy_loss(
    logits: jax.Array,
    labels: jax.Array,
    label_smoothing: float | jax.Array = 0.0,
    class_weights: jax.Array | None = None,
) -> jax.Array:
    """Softmax cross-entropy with class indices or class probabilities.

    torch's weighted mean divides the sum over a batch by the sum of the weights of its labels.

    Args:
      logits: [..., C], unnormalized scores.
      labels: [...] int, classes in [0, C), or [..., C] float, probabilities. A class outside [0, C) costs 0 (torch's
        ignore_index).
      label_smoothing: probability eps spread evenly over all classes, in [0, 1].
      class_weights: [C], weights w of the classes; None weighs all by 1.

    Returns:
      [...], one loss an example, in nats.
    """
    logits, labels = to_acc_dtype(logits), jnp.asarray(labels)
    check_shapes(logits=(logits, "... C"), class_weights=(class_weights, "C or None"))
    check_shapes(label_smoothing=(label_smoothing, "0 to 1"))
    if class_weights is not None:
        check_range("class_weights", class_weights, 0)
    are_classes = _are_classes(logits, labels)
    if not are_classes:
        check_probabilities("labels", labels)
    if are_classes and isinstance(label_smoothing, Real) and label_smoothing == 0:
        # Classes outside [0, C) are ignored.
        is_class = (labels >= 0) & (labels < logits.shape[-1])  # [...]
        labels = jnp.where(is_class, labels, 0)
        loss = _surprise(logits, labels)  # [...]
        if class_weights is not None:
            loss = safe_product(jnp.asarray(class_weights)[labels], loss)
        return jnp.where(is_class, loss, 0)
    # Smoothed or given probabilities.
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype) if are_classes else labels
    targets = optax.smooth_labels(targets.astype(logits.dtype), label_smoothing)  # [..., C]
    if class_weights is not None:
        targets = targets * class_weights
    loss = optax.safe_softmax_cross_entropy(logits, targets)  # [...]
    return jnp.where((labels >= 0) & (labels < logits.shape[-1]), loss, 0) if are_classes else loss


def _surprise(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log p of the label, from the differences of the scores: [...]."""
    is_label = jnp.arange(logits.shape[-1]) == labels[..., None]  # [..., C]
    score = jnp.take_along_axis(logits, labels[..., None], -1)  # [..., 1]
    is_possible = score[..., 0] != -jnp.inf
    score = jnp.where(is_possible[..., None], score, 0)
    difference = jnp.where(is_label | (logits == -jnp.inf), -jnp.inf, logits - score)
    # log(1 + sum e^d) = m + log(e^-m + sum e^(d - m)), with m = max(0, max d)
    largest = jax.lax.stop_gradient(jnp.maximum(difference.max(-1), 0))  # [...]
    loss = largest + jnp.log1p(jnp.exp(difference - largest[..., None]).sum(-1) + jnp.expm1(-largest))
    return jnp.where(is_possible, loss, jnp.inf)


def binary_cross_entropy_loss(
    logits: jax.Array, targets: jax.Array, positive_weight: float | jax.Array = 1.0
) -> jax.Array:
    """Binary cross-entropy summed over an example's C yes-or-no questions.

    `optax.sigmoid_binary_cross_entropy` is the same without the sum. For one question an example, C is 1:
    `logits[:, None]`.

    Args:
      logits: [..., C], one score a question.
      targets: [..., C] in [0, 1], the answers.
      positive_weight: weight v of the answer 1, a scalar or [C]; more than 1 trades precision for recall.

    Returns:
      [...], one loss an example, in nats.
    """
    logits = to_acc_dtype(logits)
    check_shapes(
        logits=(logits, "... C"),
        targets=(targets, "... C"),
        positive_weight=(positive_weight, "C" if jnp.ndim(positive_weight) else ">= 0"),
    )
    check_range("targets", targets, 0, 1)
    check_range("positive_weight", positive_weight, 0)
    positive = safe_product(targets, jax.nn.log_sigmoid(logits))  # [..., C]
    negative = safe_product(1 - targets, jax.nn.log_sigmoid(-logits))  # [..., C]
    return -(positive_weight * positive + negative).sum(-1)


def multiclass_hinge_loss(logits: jax.Array, labels: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """Multi-class hinge loss (Weston & Watkins), summed over the wrong classes.

    Args:
      logits: [..., C], unnormalized scores.
      labels: [...] int, classes in [0, C).
      margin: m, by how much the label's score should exceed every other.

    Returns:
      [...], one loss an example; (C - 1) margin where all scores are equal.
    """
    return _violations(logits, labels, margin).sum(-1)


def squared_hinge_loss(logits: jax.Array, labels: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """Multi-class hinge loss with every term squared, so that large errors count for more.

    Args:
      logits: [..., C], unnormalized scores.
      labels: [...] int, classes in [0, C).
      margin: m, by how much the label's score should exceed every other.

    Returns:
      [...], one loss an example.
    """
    return jnp.square(_violations(logits, labels, margin)).sum(-1)


def _are_classes(logits: jax.Array, labels: jax.Array) -> bool:
    """Return whether labels are class indices; False for probabilities, ValueError for anything else."""
    if jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == logits.shape[:-1]:
        return True
    if jnp.issubdtype(labels.dtype, jnp.floating) and labels.shape == logits.shape:
        return False
    raise ValueError(
        f"labels={describe_array(labels)}: neither classes nor probabilities for logits={describe_array(logits)}; "
        f"allowed: int{list(logits.shape[:-1])} or float{list(logits.shape)}"
    )


def _violations(logits: jax.Array, labels: jax.Array, margin: float | jax.Array) -> jax.Array:
    """By how much each score comes too close to that of the label: [..., C], 0 for the label itself."""
    logits, labels = to_acc_dtype(logits), jnp.asarray(labels)
    check_shapes(logits=(logits, "... C"), labels=(labels, "int ..."), margin=(margin, ">= 0"))
    check_class_ids("labels", labels, logits.shape[-1])
    is_other_class = jnp.arange(logits.shape[-1]) != labels[..., None]  # [..., C]
    target_logit = jnp.take_along_axis(logits, labels[..., None], -1, mode="clip")  # [..., 1]
    return jnp.where(is_other_class, jax.nn.relu(logits - target_logit + margin), 0)
