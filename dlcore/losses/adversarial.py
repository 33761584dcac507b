"""The losses of two players, from logits: a discriminator that tells real from made, a generator that makes.

Goodfellow et al. 2014, arXiv:1406.2661.

    V = log D(x) + log(1 - D(G(z))),   D = sigmoid(logit)      the discriminator ascends it; at D = 1/2, V = -log 4
    minimax generator:         minimise  log(1 - D(G(z)))            slope -D: next to nothing where D is sure
    non-saturating generator:  minimise -log D(G(z))                 slope D - 1: steepest where D is sure

Some lectures have the second maximise -log D(G(z)), which is the wrong sign. log D = -softplus(-logit), finite for any
logit.
"""

import jax

__all__ = ["discriminator_loss", "minimax_generator_loss", "non_saturating_generator_loss"]


def discriminator_loss(real_logit: jax.Array, fake_logit: jax.Array) -> jax.Array:
    """-V of one real and one made example: [] each."""
    return jax.nn.softplus(-real_logit) + jax.nn.softplus(fake_logit)


def minimax_generator_loss(fake_logit: jax.Array) -> jax.Array:
    """log(1 - D) of one made example's logit []."""
    return -jax.nn.softplus(fake_logit)


def non_saturating_generator_loss(fake_logit: jax.Array) -> jax.Array:
    """-log D of one made example's logit []."""
    return jax.nn.softplus(-fake_logit)
