"""Gradient reversal: a layer that changes nothing on the way forward and the gradient's sign on the way back.

Ganin & Lempitsky, "Unsupervised domain adaptation by backpropagation" (2015), arXiv:1409.7495.

    R(x) = x,   dR/dx = -strength;   strength(p) = 2 / (1 + e^(-10 p)) - 1 at the share p of the training

Behind it stands a classifier of domains. The classifier descends on its loss, and what is below the layer ascends on
the same: the features become such that the domains cannot be told apart, and the classifier's accuracy falls to 0.5.
"""

from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["DomainClassifier", "domain_losses", "reversal_strength", "reverse_gradient"]


@jax.custom_vjp
def reverse_gradient(x: jax.Array, strength: float | jax.Array = 1.0) -> jax.Array:
    """Return x, whose gradient comes back times -strength.

    Args:
      x: [...].
      strength: factor; no gradient goes to it.

    Returns:
      x.
    """
    return x


def _forward(x: jax.Array, strength: float | jax.Array = 1.0) -> tuple[jax.Array, jax.Array]:
    return x, jnp.asarray(strength)


def _backward(strength: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -strength.astype(cotangent.dtype) * cotangent, jnp.zeros_like(strength)


reverse_gradient.defvjp(_forward, _backward)


def reversal_strength(share: float | jax.Array, sharpness: float = 10.0) -> jax.Array:
    """Schedule the strength: 0 at first, while the classifier knows nothing, 1 at last.

    Args:
      share: p, of the training that is over, in [0, 1].
      sharpness: how fast it rises.

    Returns:
      2 / (1 + e^(-sharpness p)) - 1.
    """
    check_shapes(share=(share, "... 0 to 1"))
    check_shapes(sharpness=(sharpness, "> 0"))
    check_finite("sharpness", sharpness)
    return 2 / (1 + jnp.exp(-sharpness * jnp.asarray(share, jnp.float32))) - 1


class DomainClassifier(nn.Module):
    """A perceptron behind a gradient reversal: features [B, D] -> a logit [B], of the second domain.

    Args:
      hidden_features: units of its hidden layer.
    """

    hidden_features: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, features: jax.Array, strength: float | jax.Array = 1.0) -> jax.Array:
        """Tell the domains apart.

        Args:
          features: [B, D].
          strength: strength of the reversal.

        Returns:
          [B], above 0 where it takes an example for one of the second domain.
        """
        h = nn.relu(Dense(self.hidden_features, name="hidden")(reverse_gradient(features, strength)))
        return Dense(1, name="logit")(h)[..., 0]


def domain_losses(logits: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Measure how well two domains are told apart.

    Args:
      logits: [B] of the first domain and [B] of the second.

    Returns:
      (the loss of each pair, the share that got its domain), both [B]; a classifier that knows nothing has log 2 and
      0.5.
    """
    if len(logits) != 2:
        raise ValueError(f"logits: of {len(logits)} domains; allowed: two")
    first, second = map(to_acc_dtype, logits)
    check_shapes(first=(first, "..."), second=(second, "..."))
    losses = optax.sigmoid_binary_cross_entropy(first, jnp.zeros_like(first))
    losses = (losses + optax.sigmoid_binary_cross_entropy(second, jnp.ones_like(second))) / 2
    return losses, ((first <= 0).astype(jnp.float32) + (second > 0)) / 2
