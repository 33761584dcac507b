"""A replay buffer: the last L steps of each instance of an environment, in the state of the agent.

Lin 1992, "Self-improving reactive agents based on reinforcement learning, planning and teaching". The next observation
of a step is stored with it, so that the last one of an episode is what the action led to, and not the next episode's
first.
"""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct

from dlcore.ops.checks import check_shapes

__all__ = ["Replay", "Transition"]


class Transition(NamedTuple):
    """One step of an instance.

    Args:
      observation: before the action.
      action: int, or [A].
      reward: reward of the step.
      terminated: bool, the task is over.
      next_observation: the observation that the action led to, before any new episode.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    next_observation: jax.Array


@struct.dataclass
class Replay:
    """A ring buffer of transitions.

    Args:
      data: Transition of [N, L, ...].
      written: [] int32, steps that each instance has written so far.
    """

    data: Transition
    written: jax.Array

    @classmethod
    def empty(cls, example: Transition, size: int, minibatch_size: int) -> Self:
        """Allocate an empty buffer.

        Args:
          example: Transition of [N, ...], for shapes and types.
          size: L.
          minibatch_size: number of transitions of one sample.

        Returns:
          The buffer, of zeros.
        """
        check_shapes(buffer_size=(size, "int >= 1"), minibatch_size=(minibatch_size, "int >= 1"))
        instances = len(example.reward)
        if instances * size < minibatch_size:
            raise ValueError(
                f"buffer_size={size}: {instances * size} steps of {instances} instances; allowed: at least "
                f"minibatch_size={minibatch_size} steps"
            )
        data = jax.tree.map(lambda x: jnp.zeros((instances, size, *x.shape[1:]), x.dtype), example)
        return cls(data, jnp.zeros((), jnp.int32))

    def add(self, step: Transition) -> Self:
        """Add one transition of each instance, which overwrites the oldest.

        Args:
          step: Transition of [N, ...].

        Returns:
          The buffer after it.
        """
        for name, buffer, x in zip(step._fields, self.data, step, strict=True):
            check_shapes(**{name: (x, " ".join(map(str, (buffer.shape[0], *buffer.shape[2:]))))})
        # The oldest step is overwritten.
        position = self.written % self.data.reward.shape[1]
        data = jax.tree.map(lambda buffer, x: buffer.at[:, position].set(x), self.data, step)
        return type(self)(data, self.written + 1)

    def sample(self, key: jax.Array, count: int) -> Transition:
        """Sample transitions uniformly, with replacement.

        Args:
          key: PRNG key.
          count: B.

        Returns:
          Transition of [B, ...].
        """
        check_shapes(count=(count, "int >= 1"), written=(self.written, ">= 1"))
        row_key, column_key = jax.random.split(key)
        # Uniform over instances and over the steps written so far.
        instances, size = self.data.reward.shape
        instance = jax.random.randint(row_key, (count,), 0, instances)
        position = jax.random.randint(column_key, (count,), 0, jnp.minimum(self.written, size))
        return jax.tree.map(lambda buffer: buffer[instance, position], self.data)
