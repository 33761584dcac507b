"""The losses of a GAN's two players, from logits: the discriminator tells real from fake, the generator fakes.

Goodfellow et al. 2014, arXiv:1406.2661; hinge: Lim & Ye 2017, arXiv:1705.02894, and SAGAN, arXiv:1805.08318; least
squares: Mao et al. 2016, arXiv:1611.04076, with the targets 1 and 0.

    V = log D(x) + log(1 - D(G(z))),   D = sigmoid(logit)      the discriminator ascends it; at D = 1/2, V = -log 4
    minimax generator:         minimize  log(1 - D(G(z)))            slope -D: next to nothing where D is sure
    non-saturating generator:  minimize -log D(G(z))                 slope D - 1: steepest where D is sure

    hinge            discriminator  max(0, 1 - s) + max(0, 1 + s')   generator  -s'             s, s': real, fake logit
    least squares    discriminator  ((s - 1)^2 + s'^2) / 2           generator  (s' - 1)^2 / 2

Some lectures maximize -log D(G(z)), which is the wrong sign. log D = -softplus(-logit), finite for any logit.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "discriminator_loss",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
]


def discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return the discriminator's loss -V, for pairs of a real and a fake sample.

    Args:
      real_logits: [...], logits of real samples.
      fake_logits: [...], logits of as many fake samples.

    Returns:
      [...], element by element.
    """
    real_logits, fake_logits = _pair(real_logits, fake_logits)
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def minimax_generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss log(1 - D) of the original minimax game.

    Args:
      fake_logits: [...], logits of fake samples.

    Returns:
      [...], element by element.
    """
    return -jax.nn.softplus(to_acc_dtype(fake_logits))


def non_saturating_generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss -log D, which keeps its gradient where the discriminator is sure.

    Args:
      fake_logits: [...], logits of fake samples.

    Returns:
      [...], element by element.
    """
    return jax.nn.softplus(-to_acc_dtype(fake_logits))


def hinge_discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return the hinge loss of the discriminator: no slope where a real logit is above 1 and a fake one below -1.

    Args:
      real_logits: [...], logits of real samples.
      fake_logits: [...], logits of as many fake samples.

    Returns:
      [...], element by element; at least 2 where both logits are the same.
    """
    real_logits, fake_logits = _pair(real_logits, fake_logits)
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


def hinge_generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss -s' against a hinge discriminator.

    Args:
      fake_logits: [...], logits of fake samples.

    Returns:
      [...], element by element.
    """
    return -to_acc_dtype(fake_logits)


def least_squares_discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """The least-squares loss of the discriminator, whose logits should be 1 for real samples and 0 for fake ones.

    Args:
      real_logits: [...], logits of real samples.
      fake_logits: [...], logits of as many fake samples.

    Returns:
      [...], element by element; at least 1/4 where both logits are the same.
    """
    real_logits, fake_logits = _pair(real_logits, fake_logits)
    return (jnp.square(real_logits - 1) + jnp.square(fake_logits)) / 2


def least_squares_generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss against a least-squares discriminator, whose logits should become 1.

    Args:
      fake_logits: [...], logits of fake samples.

    Returns:
      [...], element by element.
    """
    return jnp.square(to_acc_dtype(fake_logits) - 1) / 2


def _pair(real_logits: jax.Array, fake_logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    real_logits, fake_logits = to_acc_dtype(real_logits), to_acc_dtype(fake_logits)
    check_shapes(real_logits=(real_logits, "..."), fake_logits=(fake_logits, "..."))
    return real_logits, fake_logits
