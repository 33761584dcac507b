"""How far one distribution over C classes is from another: entropy, cross-entropy, Kullback-Leibler.

    H(p) = -sum p log p,   H(p, q) = -sum p log q,   KL(p || q) = sum p log(p / q) = H(p, q) - H(p) >= 0

in nats, with 0 log 0 = 0. Shannon 1948; Kullback & Leibler 1951; entropy as a loss on unlabelled examples is
Grandvalet & Bengio 2004. Where p > 0 and q = 0 the value is infinite and the gradient 0: it is finite everywhere, where
`optax.kl_divergence` has a gradient of NaN at p = 0. From scores, take the losses: they stay exact where a probability
underflows.
"""

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32

__all__ = ["cross_entropy", "entropy", "entropy_loss", "kl_divergence", "kl_divergence_loss"]


def entropy(p: jax.Array) -> jax.Array:
    """H(p) of probabilities [C]: 0 where one has all, log C where all are equal."""
    p = at_least_float32(p)
    return -(p * _log(p)).sum()


def cross_entropy(p: jax.Array, q: jax.Array) -> jax.Array:
    """H(p, q) of probabilities [C]: what coding p by q costs; least, H(p), where q = p."""
    p, q = at_least_float32(p), at_least_float32(q)
    return jnp.where(_impossible(p, q), jnp.inf, -(p * _log(q)).sum())


def kl_divergence(p: jax.Array, q: jax.Array) -> jax.Array:
    """KL(p || q) of probabilities [C]: 0 where they are equal and nowhere else."""
    p, q = at_least_float32(p), at_least_float32(q)
    return jnp.where(_impossible(p, q), jnp.inf, (p * (_log(p) - _log(q))).sum())


def kl_divergence_loss(logits: jax.Array, target: jax.Array) -> jax.Array:
    """KL(target || softmax(logits)) of scores [C] and probabilities [C]."""
    target = at_least_float32(target)
    return (target * (_log(target) - jax.nn.log_softmax(at_least_float32(logits)))).sum()


def entropy_loss(logits: jax.Array) -> jax.Array:
    """H(softmax(logits)) of scores [C]: added it asks for confident predictions, subtracted for exploration."""
    log_p = jax.nn.log_softmax(at_least_float32(logits))
    return -(jnp.exp(log_p) * jnp.where(jnp.isfinite(log_p), log_p, 0)).sum()


def _log(p: jax.Array) -> jax.Array:
    """The logarithm, with 0 and no gradient at 0."""
    return jnp.log(jnp.where(p > 0, p, 1))


def _impossible(p: jax.Array, q: jax.Array) -> jax.Array:
    return ((p > 0) & (q <= 0)).any()
