"""Small networks over observations: vectors by two dense layers, pictures by a convolution and a dense layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn import Conv

__all__ = ["ActorCritic", "QNetwork", "Torso"]


def _orthogonal(scale: float) -> Any:
    return nn.initializers.orthogonal(scale)


class Torso(nn.Module):
    """[B, ...] observations to [B, width] features; observations [B, H, W, C] go through a 3x3 convolution first."""

    width: int = 64
    activation: Any = nn.tanh

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, float32."""
        x = x.astype(jnp.float32)
        init = _orthogonal(np.sqrt(2))
        if x.ndim == 4:
            x = nn.relu(Conv(16, (3, 3), padding="VALID", kernel_init=init, name="conv")(x))
        x = x.reshape(x.shape[0], -1)
        for i in (1, 2) if x.ndim == 2 else (1,):
            x = self.activation(nn.Dense(self.width, kernel_init=init, name=f"dense{i}")(x))
        return x


class ActorCritic(nn.Module):
    """A policy and a value on torsos of their own: observations [B, ...] -> (logits [B, A], values [B])."""

    num_actions: int
    width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits of the actions and the value of the state."""
        actor = Torso(self.width, name="actor_torso")(x)
        critic = Torso(self.width, name="critic_torso")(x)
        logits = nn.Dense(self.num_actions, kernel_init=_orthogonal(0.01), name="actor")(actor)
        return logits, nn.Dense(1, kernel_init=_orthogonal(1.0), name="critic")(critic)[..., 0]


class QNetwork(nn.Module):
    """The value of each action: observations [B, ...] -> [B, A]."""

    num_actions: int
    width: int = 128

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Action values."""
        x = Torso(self.width, nn.relu, name="torso")(x)
        return nn.Dense(self.num_actions, kernel_init=_orthogonal(1.0), name="head")(x)
