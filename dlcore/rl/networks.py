"""Small networks over observations: vectors by two dense layers, images by a convolution and a dense layer."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv

__all__ = ["ActorCritic", "QNetwork", "Torso"]

orthogonal = nn.initializers.orthogonal


class Torso(nn.Module):
    """Features of observations: [B, D] by two dense layers, [B, H, W, C] by a 3x3 convolution of 16 and a dense layer.

    Args:
      width: units of each dense layer.
      activation: after each dense layer.
    """

    width: int = 64
    activation: Any = nn.tanh

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute features.

        Args:
          x: [B, D] or [B, H, W, C].

        Returns:
          [B, width] float32.
        """
        x = x.astype(jnp.float32)
        init = orthogonal(np.sqrt(2))
        layers = 2
        if x.ndim == 4:
            x, layers = nn.relu(Conv(16, (3, 3), padding="VALID", kernel_init=init, name="conv")(x)), 1
        x = x.reshape(x.shape[0], -1)
        for i in range(1, layers + 1):
            x = self.activation(nn.Dense(self.width, kernel_init=init, name=f"dense{i}")(x))
        return x


class ActorCritic(nn.Module):
    """A policy and a value, each on a torso of its own.

    Args:
      num_actions: A.
      width: units of each dense layer of the torsos.
    """

    num_actions: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the policy and the value of observations.

        Args:
          x: [B, ...].

        Returns:
          (logits of the actions [B, A], values [B]).
        """
        actor = Torso(self.width, name="actor_torso")(x)
        critic = Torso(self.width, name="critic_torso")(x)
        logits = nn.Dense(self.num_actions, kernel_init=orthogonal(0.01), name="actor")(actor)
        return logits, nn.Dense(1, kernel_init=orthogonal(1.0), name="critic")(critic)[..., 0]


class QNetwork(nn.Module):
    """The value of each action.

    Args:
      num_actions: A.
      width: units of each dense layer of the torso.
    """

    num_actions: int
    width: Annotated[int, Range(1)] = 128

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute the action values of observations.

        Args:
          x: [B, ...].

        Returns:
          [B, A].
        """
        x = Torso(self.width, nn.relu, name="torso")(x)
        return nn.Dense(self.num_actions, kernel_init=orthogonal(1.0), name="head")(x)
