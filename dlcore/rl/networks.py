"""Small networks over observations: vectors by two dense layers, images by a convolution and a dense layer."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, Dense
from dlcore.nn.initializers import orthogonal
from dlcore.nn.recurrent import orthogonal_by_gate
from dlcore.nn.recurrent_cells import lstm_cell
from dlcore.ops.checks import check_shapes
from dlcore.rl.distributions import Categorical, DiagonalGaussian, TanhGaussian
from dlcore.rl.environments import Environment

__all__ = [
    "ActorCritic",
    "ActorTwinCritic",
    "CategoricalActor",
    "GaussianActorCritic",
    "QNetwork",
    "RecurrentActorCritic",
    "SquashedActor",
    "Torso",
    "TwinCritic",
    "actor_critic",
    "actor_twin_critic",
    "lstm_sequence",
    "q_network",
    "recurrent_actor_critic",
]


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
            x = self.activation(Dense(self.width, kernel_init=init, name=f"dense{i}")(x))
        return x


class ActorCritic(nn.Module):
    """A policy over discrete actions and a value, each on a torso of its own.

    Args:
      num_actions: A.
      width: units of each dense layer of the torsos.
    """

    num_actions: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[Categorical, jax.Array]:
        """Compute the policy and the value of observations.

        Args:
          x: [B, ...].

        Returns:
          (distribution over A actions, values [B]).
        """
        actor = Torso(self.width, name="actor_torso")(x)
        critic = Torso(self.width, name="critic_torso")(x)
        logits = Dense(self.num_actions, kernel_init=orthogonal(0.01), name="actor")(actor)
        return Categorical(logits), Dense(1, kernel_init=orthogonal(1.0), name="critic")(critic)[..., 0]


class GaussianActorCritic(nn.Module):
    """A policy over continuous actions and a value, each on a torso of its own; one deviation for all observations.

    Args:
      action_size: A.
      width: units of each dense layer of the torsos.
    """

    action_size: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[DiagonalGaussian, jax.Array]:
        """Compute the policy and the value of observations.

        Args:
          x: [B, ...].

        Returns:
          (distribution over [A], values [B]).
        """
        actor = Torso(self.width, name="actor_torso")(x)
        critic = Torso(self.width, name="critic_torso")(x)
        mean = Dense(self.action_size, kernel_init=orthogonal(0.01), name="actor")(actor)
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_size,))
        policy = DiagonalGaussian(mean, jnp.broadcast_to(log_std, mean.shape))
        return policy, Dense(1, kernel_init=orthogonal(1.0), name="critic")(critic)[..., 0]


def actor_critic(environment: Environment, width: int = 64) -> nn.Module:
    """Choose the actor and critic of an environment.

    Args:
      environment: environment to act in.
      width: units of each dense layer of the torsos.

    Returns:
      The module.
    """
    check_shapes(width=(width, "int >= 1"))
    if environment.num_actions is None:
        return GaussianActorCritic(environment.action_size, width)
    return ActorCritic(environment.num_actions, width)


class CategoricalActor(nn.Module):
    """A policy over discrete actions.

    Args:
      num_actions: A.
      width: units of each dense layer of the torso.
    """

    num_actions: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> Categorical:
        """Compute the policy of observations.

        Args:
          x: [B, ...].

        Returns:
          The distribution over A actions.
        """
        x = Torso(self.width, nn.relu, name="torso")(x)
        return Categorical(Dense(self.num_actions, kernel_init=orthogonal(0.01), name="logits")(x))


class SquashedActor(nn.Module):
    """A policy over continuous actions in (-1, 1), with a deviation for each observation.

    Args:
      action_size: A.
      width: units of each dense layer of the torso.
    """

    action_size: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> TanhGaussian:
        """Compute the policy of observations.

        Args:
          x: [B, ...].

        Returns:
          The distribution over [B, A]; the logarithm of its deviation is between -5 and 2.
        """
        x = Torso(self.width, nn.relu, name="torso")(x)
        mean = Dense(self.action_size, kernel_init=orthogonal(0.01), name="mean")(x)
        log_std = Dense(self.action_size, kernel_init=orthogonal(0.01), name="log_std")(x)
        return TanhGaussian(mean, jnp.clip(log_std, -5, 2))


class TwinCritic(nn.Module):
    """Action values by networks that are alike but for their first weights.

    Args:
      num_outputs: values of each: one for the action that is given, or one for each discrete action.
      width: units of each dense layer of the torsos.
      number: number of networks.
    """

    num_outputs: int = 1
    width: Annotated[int, Range(1)] = 64
    number: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, action: jax.Array | None = None) -> jax.Array:
        """Compute action values.

        Args:
          x: observations [B, D], or [B, ...] without actions.
          action: [B, A], put beside the observations; None: the values are those of the discrete actions.

        Returns:
          [number, B] of the actions given, else [number, B, num_outputs].
        """
        if action is not None:
            x = jnp.concatenate([x.astype(jnp.float32), action], -1)
        in_axes: Any = None
        copies = nn.vmap(
            QNetwork, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=in_axes, axis_size=self.number
        )
        values = copies(self.num_outputs, self.width, name="networks")(x)
        return values if action is None else values[..., 0]


class ActorTwinCritic(nn.Module):
    """A policy and two networks of action values, whose parameters are under "actor" and "critic".

    Args:
      num_actions: number of discrete actions; None where actions are continuous.
      action_size: size of continuous actions; 0 where actions are discrete.
      width: units of each dense layer.
    """

    num_actions: int | None
    action_size: int
    width: Annotated[int, Range(1)] = 64

    def setup(self) -> None:
        """Build both networks."""
        if self.num_actions is None:
            self.actor = SquashedActor(self.action_size, self.width)
        else:
            self.actor = CategoricalActor(self.num_actions, self.width)
        self.critic = TwinCritic(1 if self.num_actions is None else self.num_actions, self.width)

    def __call__(self, x: jax.Array) -> tuple[TanhGaussian | Categorical, jax.Array]:
        """Compute both, for initialization.

        Args:
          x: observations [B, ...].

        Returns:
          (policy, action values).
        """
        policy = self.policy(x)
        return policy, self.values(x, policy.mode() if self.action_size else None)

    def policy(self, x: jax.Array) -> TanhGaussian | Categorical:
        """Compute the policy of observations.

        Args:
          x: [B, ...].

        Returns:
          The distribution over actions.
        """
        return self.actor(x)

    def values(self, x: jax.Array, action: jax.Array | None = None) -> jax.Array:
        """Compute action values.

        Args:
          x: observations [B, ...].
          action: [B, A]; None: of all discrete actions.

        Returns:
          [2, B], or [2, B, num_actions].
        """
        return self.critic(x, action)


def actor_twin_critic(environment: Environment, width: int = 64) -> nn.Module:
    """Build the actor and the twin critic of an environment.

    Args:
      environment: environment to act in.
      width: units of each dense layer.

    Returns:
      The module.
    """
    check_shapes(width=(width, "int >= 1"))
    return ActorTwinCritic(environment.num_actions, environment.action_size, width)


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
        return Dense(self.num_actions, kernel_init=orthogonal(1.0), name="head")(x)


def q_network(environment: Environment, width: int = 128) -> nn.Module:
    """Build the action values of an environment.

    Args:
      environment: environment to act in.
      width: units of each dense layer of the torso.

    Returns:
      The module.
    """
    check_shapes(width=(width, "int >= 1"))
    if environment.num_actions is None:
        raise ValueError(f"environment={environment.name!r}: continuous actions; allowed: discrete actions")
    return QNetwork(environment.num_actions, width)


def _lstm_loop(kernel, memory, inputs, is_initial, added=None):
    """(memory after T steps, hidden states [T, B, H], those that each step began with [T, B, H])."""

    def step(memory, now):
        a, is_initial, more = now
        # A new episode starts with an empty memory.
        memory = jax.tree.map(lambda h: jnp.where(is_initial[:, None], 0.0, h), memory)
        before, u = memory[0], memory[0] @ kernel
        memory = lstm_cell(memory, a, u if more is None else u + more)
        return memory, (memory[0], before)

    memory, (hidden, before) = jax.lax.scan(step, memory, (inputs, is_initial, added))
    return memory, hidden, before


@jax.custom_vjp
def lstm_sequence(kernel: jax.Array, memory: Any, inputs: jax.Array, fresh: jax.Array) -> tuple[Any, jax.Array]:
    """Run an LSTM over time; the gradient of its kernel is one product after the loop, and no sum within it.

    Args:
      kernel: [H, 4 H], of the hidden state.
      memory: (h, c) before the first step, [B, H] each.
      inputs: [T, B, 4 H], the input terms of the gates.
      fresh: [T, B] bool, the memory is cleared before this step.

    Returns:
      (memory after the last step, hidden states [T, B, H]).
    """
    return _lstm_loop(kernel, memory, inputs, fresh)[:2]


def _lstm_forward(kernel, memory, inputs, is_initial):
    def run(memory, inputs, added):
        memory, hidden, before = _lstm_loop(kernel, memory, inputs, is_initial, added)
        return (memory, hidden), before

    out, vjp_fn, before = jax.vjp(run, memory, inputs, jnp.zeros_like(inputs), has_aux=True)
    return out, (vjp_fn, before)


def _lstm_backward(residuals, gradients):
    vjp_fn, before = residuals
    memory, inputs, added = vjp_fn(gradients)
    # Gradient of the kernel in one product over all steps.
    return jnp.einsum("tbh,tbg->hg", before, added), memory, inputs, None


lstm_sequence.defvjp(_lstm_forward, _lstm_backward)


class RecurrentActorCritic(nn.Module):
    """A policy and a value that remember: a dense layer, behind a 3x3 convolution for images, an LSTM, and two heads.

    Args:
      num_actions: number of discrete actions; None where actions are continuous.
      action_size: size of continuous actions; 0 where actions are discrete.
      width: units of the dense layer and of the LSTM.
    """

    num_actions: int | None
    action_size: int
    width: Annotated[int, Range(1)] = 64

    def setup(self) -> None:
        """Build the layers."""
        self.conv = Conv(16, (3, 3), padding="VALID", kernel_init=orthogonal(np.sqrt(2)))  # of images alone
        self.encoder = Dense(self.width, kernel_init=orthogonal(np.sqrt(2)))
        self.gates = Dense(4 * self.width)
        self.hidden_kernel = self.param("hidden_kernel", orthogonal_by_gate(4), (self.width, 4 * self.width))
        self.actor = Dense(self.action_size or self.num_actions or 0, kernel_init=orthogonal(0.01))
        self.critic = Dense(1, kernel_init=orthogonal(1.0))
        if self.action_size:
            self.log_std = self.param("log_std", nn.initializers.zeros, (self.action_size,))

    def __call__(self, memory: Any, x: jax.Array) -> tuple[Any, tuple[Categorical | DiagonalGaussian, jax.Array]]:
        """Take one step.

        Args:
          memory: the LSTM's two vectors, [B, width] each.
          x: observations [B, D] or [B, H, W, C].

        Returns:
          (memory after it, (distribution over actions, values [B])).
        """
        memory = lstm_cell(memory, self._inputs(x), memory[0] @ self.hidden_kernel)
        return memory, self._heads(memory[0])

    def sequence(
        self, memory: Any, x: jax.Array, fresh: jax.Array
    ) -> tuple[Any, tuple[Categorical | DiagonalGaussian, jax.Array]]:
        """Compute T steps; only the LSTM's recurrence runs in a loop.

        Args:
          memory: before the first step.
          x: observations [T, B, D] or [T, B, H, W, C].
          fresh: [T, B] bool, the memory is cleared before this step.

        Returns:
          (memory after the last step, (distributions [T, B, ...], values [T, B])).
        """
        memory, hidden = lstm_sequence(self.hidden_kernel, memory, self._inputs(x, 2), fresh)
        return memory, self._heads(hidden)

    @nn.nowrap
    def memory(self, count: int) -> tuple[jax.Array, jax.Array]:
        """Make the memory at the start of an episode.

        Args:
          count: B.

        Returns:
          Two arrays of zeros, [B, width].
        """
        return jnp.zeros((count, self.width), jnp.float32), jnp.zeros((count, self.width), jnp.float32)

    def _inputs(self, x: jax.Array, batch_axes: int = 1) -> jax.Array:
        x = x.astype(jnp.float32)
        if x.ndim == batch_axes + 3:
            x = nn.relu(self.conv(x))
        return self.gates(nn.tanh(self.encoder(x.reshape(*x.shape[:batch_axes], -1))))

    def _heads(self, x: jax.Array) -> tuple[Categorical | DiagonalGaussian, jax.Array]:
        scores, value = self.actor(x), self.critic(x)[..., 0]
        if not self.action_size:
            return Categorical(scores), value
        return DiagonalGaussian(scores, jnp.broadcast_to(self.log_std, scores.shape)), value


def recurrent_actor_critic(environment: Environment, width: int = 64) -> nn.Module:
    """Build the remembering actor and critic of an environment.

    Args:
      environment: environment to act in.
      width: units of the dense layer and of the LSTM.

    Returns:
      The module.
    """
    check_shapes(width=(width, "int >= 1"))
    return RecurrentActorCritic(environment.num_actions, environment.action_size, width)
