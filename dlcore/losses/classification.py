"""Losses of one example's class scores.

    softmax:                p_c = e^{s_c - max s} / sum_j e^{s_j - max s}
    softmax cross-entropy:  L = -sum_c w_c q_c log p_c,   q = (1 - eps) onehot(y) + eps / C
    binary cross-entropy:   L = -[v y log p + (1 - y) log(1 - p)],   p = sigmoid(s)
    multi-class hinge:      L = sum_{j != y} max(0, s_j - s_y + m)
    squared hinge:          L = sum_{j != y} max(0, s_j - s_y + m)^2

Bridle 1990; label smoothing eps is Szegedy et al. 2016 (arXiv:1512.00567); the hinge is Weston & Watkins 1999, and its
sum over classes is C times torch's. `optax.multiclass_hinge_loss` is another function: Crammer & Singer's, which has
max_j in place of the sum. Some lectures lose the minus sign of the binary cross-entropy, or the one of the hinge.
All are computed in at least float32.
"""

import jax
import jax.numpy as jnp
import optax
from jax.nn import log_softmax, softmax

from dlcore.losses._precision import at_least_float32

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
    label: jax.Array,
    label_smoothing: float | jax.Array = 0.0,
    class_weights: jax.Array | None = None,
) -> jax.Array:
    """The scalar loss of `logits: [C]` for the class `label: [] int` in [0, C) or the probabilities `label: [C]`.

    label_smoothing: in [0, 1]. class_weights: [C]; torch's weighted mean divides the sum over a batch by that of the
    weights of its labels. The loss of a label outside [0, C) is 0, up to its smoothing (torch's ignore_index).
    """
    logits, label = at_least_float32(logits), jnp.asarray(label)
    if label.ndim == 0 and isinstance(label_smoothing, int | float) and label_smoothing == 0:
        known = (label >= 0) & (label < logits.shape[-1])
        label = jnp.where(known, label, 0)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return jnp.where(known, loss if class_weights is None else loss * class_weights[label], 0)
    target = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype) if label.ndim == 0 else label
    target = optax.smooth_labels(target.astype(logits.dtype), label_smoothing)
    if class_weights is not None:
        target = target * class_weights
    return optax.safe_softmax_cross_entropy(logits, target)


def binary_cross_entropy_loss(
    logits: jax.Array, target: jax.Array, positive_weight: float | jax.Array = 1.0
) -> jax.Array:
    """The sum over all of `logits: [...]`, each a yes-or-no question with the answer `target: [...]` in [0, 1].

    positive_weight: v above, a number or one for each question; more than 1 trades precision for recall.
    """
    logits = at_least_float32(logits)
    positive = target * jax.nn.log_sigmoid(logits)
    negative = (1 - target) * jax.nn.log_sigmoid(-logits)
    return -(positive_weight * positive + negative).sum()


def multiclass_hinge_loss(logits: jax.Array, label: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """The scalar loss of `logits: [C]` for the class `label: [] int`; (C - 1) margin where all scores are equal."""
    return _violations(logits, label, margin).sum()


def squared_hinge_loss(logits: jax.Array, label: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """The multi-class hinge loss with every term squared, so that large errors count for more."""
    return jnp.square(_violations(logits, label, margin)).sum()


def _violations(logits: jax.Array, label: jax.Array, margin: float | jax.Array) -> jax.Array:
    """By how much each score comes too close to that of the label: [C], 0 for the label itself."""
    logits = at_least_float32(logits)
    others = jnp.arange(logits.shape[-1]) != label
    return jnp.where(others, jax.nn.relu(logits - logits[label] + margin), 0)
