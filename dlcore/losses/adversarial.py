"""The losses of a GAN's two players, from logits: the discriminator tells real from fake, the generator fakes.

Goodfellow et al. 2014, arXiv:1406.2661.

    V = log D(x) + log(1 - D(G(z))),   D = sigmoid(logit)      the discriminator ascends it; at D = 1/2, V = -log 4
    minimax generator:         minimize  log(1 - D(G(z)))            slope -D: next to nothing where D is sure
    non-saturating generator:  minimize -log D(G(z))                 slope D - 1: steepest where D is sure

Some lectures maximize -log D(G(z)), which is the wrong sign. log D = -softplus(-logit), finite for any logit.
"""

import jax

from dlcore.losses._precision import at_least_float32
from dlcore.losses._shapes import check_shapes

__all__ = ["discriminator_loss", "minimax_generator_loss", "non_saturating_generator_loss"]


def discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """The discriminator's loss -V, for pairs of a real and a fake sample.

    Args:
      real_logits: [...], logits of real samples.
      fake_logits: [...], logits of as many fake samples.

    Returns:
      [...], element by element.

    Raises:
      ValueError: the two shapes differ.
    """
    real_logits, fake_logits = at_least_float32(real_logits), at_least_float32(fake_logits)
    check_shapes(real_logits=(real_logits, "..."), fake_logits=(fake_logits, "..."))
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def minimax_generator_loss(fake_logits: jax.Array) -> jax.Array:
    """The generator's loss log(1 - D) of the original minimax game.

    Args:
      fake_logits: [...], logits of fake samples.

    Returns:
      [...], element by element.
    """
    return -jax.nn.softplus(at_least_float32(fake_logits))


def non_saturating_generator_loss(fake_logits: jax.Array) -> jax.Array:
    """The generator's loss -log D, which keeps its gradient where the discriminator is sure.

    Args:
      fake_logits: [...], logits of fake samples.

    Returns:
      [...], element by element.
    """
    return jax.nn.softplus(-at_least_float32(fake_logits))
