"""How far one distribution over C classes is from another: entropy, cross-entropy, Kullback-Leibler.

    H(p) = -sum p log p,   H(p, q) = -sum p log q,   KL(p || q) = sum p log(p / q) = H(p, q) - H(p) >= 0

in nats, with 0 log 0 = 0. Shannon 1948; Kullback & Leibler 1951; entropy as a loss on unlabeled examples is
Grandvalet & Bengio 2004. Where p > 0 and q = 0 the value is infinite and the gradient 0. The gradient is finite
everywhere, where that of `optax.kl_divergence` is NaN at p = 0. From logits, take the `_loss` functions: they stay
exact where a probability underflows, and a logit of -inf (an action that is not allowed) has the probability 0.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_probabilities, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.safe_product import safe_product

__all__ = ["cross_entropy", "entropy", "entropy_loss", "kl_divergence", "kl_divergence_loss"]


def entropy(p: jax.Array) -> jax.Array:
    """Entropy H(p) of probabilities.

    Args:
      p: [..., C], probabilities.

    Returns:
      [...], in nats: 0 where one class has all, log C where all are equal.
    """
    check_shapes(p=(p, "... C"))
    check_probabilities("p", p)
    p = to_acc_dtype(p)
    return -(p * _log(p)).sum(-1)


def cross_entropy(p: jax.Array, q: jax.Array) -> jax.Array:
    """Cross-entropy H(p, q) of probabilities: the cost of coding p by q, least (H(p)) where q = p.

    Args:
      p: [..., C], true probabilities.
      q: [..., C], predicted probabilities.

    Returns:
      [...], in nats; infinite where p > 0 = q for a class.
    """
    p, q = _pair(p, q)
    return jnp.where(_impossible(p, q), jnp.inf, -(p * _log(q)).sum(-1))


def kl_divergence(p: jax.Array, q: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence KL(p || q) of probabilities: 0 where p = q and nowhere else.

    Args:
      p: [..., C], true probabilities.
      q: [..., C], predicted probabilities.

    Returns:
      [...], in nats; infinite where p > 0 = q for a class.
    """
    p, q = _pair(p, q)
    return jnp.where(_impossible(p, q), jnp.inf, (p * (_log(p) - _log(q))).sum(-1))


def kl_divergence_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Divergence KL(targets || softmax(logits)) of the prediction from target probabilities.

    Args:
      logits: [..., C], unnormalized scores.
      targets: [..., C], probabilities.

    Returns:
      [...], one loss an example, in nats.
    """
    check_shapes(logits=(logits, "... C"), targets=(targets, "... C"))
    check_probabilities("targets", targets)
    targets = to_acc_dtype(targets)
    log_q = jax.nn.log_softmax(to_acc_dtype(logits))  # [..., C]
    # A class without probability costs nothing, even at a logit of -inf.
    return safe_product(targets, _log(targets) - log_q).sum(-1)


def entropy_loss(logits: jax.Array) -> jax.Array:
    """Entropy of softmax(logits): add it for confident predictions, subtract it for exploration.

    Args:
      logits: [..., C], unnormalized scores.

    Returns:
      [...], one loss an example, in nats.
    """
    check_shapes(logits=(logits, "... C"))
    log_p = jax.nn.log_softmax(to_acc_dtype(logits))  # [..., C]
    return -safe_product(jnp.exp(log_p), log_p).sum(-1)


def _pair(p: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    check_shapes(p=(p, "... C"), q=(q, "... C"))
    check_probabilities("p", p)
    check_probabilities("q", q)
    return to_acc_dtype(p), to_acc_dtype(q)


def _log(p: jax.Array) -> jax.Array:
    """Return the logarithm, with 0 and no gradient at 0."""
    return jnp.log(jnp.where(p > 0, p, 1))


def _impossible(p: jax.Array, q: jax.Array) -> jax.Array:
    return ((p > 0) & (q <= 0)).any(-1)
