"""Losses for labels of which some are wrong.

    generalized cross-entropy   L = (1 - p_y^q) / q        Zhang & Sabuncu 2018, arXiv:1805.07836
    forward correction          L = -log sum_c p_c T_cy    Patrini et al. 2017, arXiv:1609.03683

p = softmax(s). With q -> 0 the first is the cross-entropy, which never gives up on an example: its gradient is
p_y^-q times as large. With q = 1 it is 1 - p_y, the mean absolute error of probabilities over 2, which forgives wrong
labels and learns slowly. T_cy is the probability that an example of class c is labeled y: the correction compares the
label with what the network says the *label* will be, so that at the minimum p is right about the class.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_class_ids, check_probabilities, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.safe_product import safe_product

__all__ = ["forward_corrected_loss", "generalized_cross_entropy_loss"]


def generalized_cross_entropy_loss(logits: jax.Array, labels: jax.Array, q: float | jax.Array = 0.7) -> jax.Array:
    """Generalized cross-entropy: between the cross-entropy and an absolute error.

    Args:
      logits: [..., C], unnormalized scores.
      labels: [...] int, classes in [0, C).
      q: in [0, 1]; 0 is the cross-entropy, and toward 1 wrong labels count less.

    Returns:
      [...], one loss an example, at most 1 / q.
    """
    logits, labels = to_acc_dtype(logits), jnp.asarray(labels)
    check_shapes(logits=(logits, "... C"), labels=(labels, "int ..."), q=(q, "0 to 1"))
    check_class_ids("labels", labels, logits.shape[-1])
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1, mode="clip")[..., 0]  # [...]
    q = jnp.asarray(q, log_p.dtype)
    # (1 - p^q) / q; its limit at q = 0 is the cross-entropy.
    return jnp.where(q > 0, -jnp.expm1(safe_product(q, log_p)) / jnp.where(q > 0, q, 1), -log_p)


def forward_corrected_loss(logits: jax.Array, labels: jax.Array, transition: jax.Array) -> jax.Array:
    """Cross-entropy of the label that noise makes of the predicted class.

    Args:
      logits: [..., C], unnormalized scores of the classes.
      labels: [...] int, classes in [0, C), of which some are wrong.
      transition: [C, C], T: row c has the probabilities of the labels of an example of class c.

    Returns:
      [...], one loss an example, in nats; infinite where no class that is possible has this label.
    """
    logits, labels = to_acc_dtype(logits), jnp.asarray(labels)
    check_shapes(logits=(logits, "... C"), labels=(labels, "int ..."), transition=(transition, "C C"))
    check_class_ids("labels", labels, logits.shape[-1])
    check_probabilities("transition", transition)
    # Row T[:, y]: how likely each true class gets the label y.
    weights = jnp.asarray(transition, logits.dtype).T.at[labels].get(mode="clip")  # [..., C]
    return -jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=-1, b=weights)
