"""Normalization of observations and rewards by running statistics over all environments, kept in the agent's state.

The moments of batches are merged as in Chan, Golub & LeVeque 1983. Rewards are divided by the deviation of the
discounted return so far, R_t = gamma R_{t-1} + r_t, and keep their sign and mean (Engstrom et al. 2020, "Implementation
matters in deep policy gradients", arXiv:2005.12729).
"""

from typing import Self

import jax
import jax.numpy as jnp
from flax import struct

from dlcore.ops.checks import check_shapes
from dlcore.ops.moments import population_moments
from dlcore.ops.replica import psum

__all__ = ["NORMALIZER_BATCHED", "Moments", "Normalizer"]

NORMALIZER_BATCHED = ("normalizer/discounted",)
"""`Learner.batched` of a `Normalizer` in the field `normalizer`."""


@struct.dataclass
class Moments:
    """Mean and variance of all values so far.

    Args:
      count: [] float32.
      mean: [...].
      variance: [...], of the population.
    """

    count: jax.Array
    mean: jax.Array
    variance: jax.Array

    @classmethod
    def start(cls, shape: tuple[int, ...]) -> Self:
        """Initialize the statistics: mean 0, variance 1, a count of 1e-4.

        Args:
          shape: shape of one value.

        Returns:
          The moments.
        """
        return cls(jnp.full((), 1e-4, jnp.float32), jnp.zeros(shape, jnp.float32), jnp.ones(shape, jnp.float32))

    def update(self, x: jax.Array) -> Self:
        """Update the statistics by a batch.

        Args:
          x: [N, ...].

        Returns:
          The moments after it.
        """
        check_shapes(x=(x, " ".join(["N", *map(str, self.mean.shape)])))
        x = x.astype(jnp.float32)
        count = jnp.float32(len(x))
        # Moments of the batch, over all replicas.
        count = psum(count)
        mean, variance = population_moments(x, 0)
        # Weight by the number of values on each side.
        total, delta = self.count + count, mean - self.mean
        # Merge the sums of squared deviations (Chan et al. 1983).
        m2 = self.count * self.variance + count * variance + jnp.square(delta) * self.count * count / total
        return type(self)(total, self.mean + delta * count / total, m2 / total)


@struct.dataclass
class Normalizer:
    """Running statistics that normalize an agent's observations and rewards.

    Args:
      observation: moments of [...]; None leaves observations as they are.
      discounted: [N] float32, discounted rewards so far in the running episodes.
      reward: moments of `discounted`; None leaves rewards as they are.
    """

    observation: Moments | None
    discounted: jax.Array
    reward: Moments | None

    @classmethod
    def start(cls, observation: jax.Array, observations: bool, rewards: bool) -> Self:
        """Initialize by the first observations.

        Args:
          observation: [N, ...].
          observations: normalize them.
          rewards: normalize them.

        Returns:
          The normalizer.
        """
        moments = Moments.start(observation.shape[1:]).update(observation) if observations else None
        return cls(moments, jnp.zeros(len(observation), jnp.float32), Moments.start(()) if rewards else None)

    def update(self, observation: jax.Array, reward: jax.Array, done: jax.Array, gamma: float | jax.Array) -> Self:
        """Update the moments by one step of all instances.

        Args:
          observation: [N, ...].
          reward: [N].
          done: [N] bool, the episode is over.
          gamma: discount a step.

        Returns:
          The normalizer after it.
        """
        check_shapes(
            discounted=(self.discounted, "N"), reward=(reward, "N"), done=(done, "mask N"), gamma=(gamma, "0 to 1")
        )
        moments = self.observation if self.observation is None else self.observation.update(observation)
        # Rewards are divided by the deviation of the discounted return, as in VecNormalize.
        discounted = gamma * self.discounted + reward
        rewards = self.reward if self.reward is None else self.reward.update(discounted)
        # The discounted return starts anew with each episode.
        return type(self)(moments, jnp.where(done, 0.0, discounted), rewards)

    def normalize_obs(self, x: jax.Array) -> jax.Array:
        """Normalize observations.

        Args:
          x: [..., as one observation].

        Returns:
          The same shape; where observations are normalized, between -10 and 10.
        """
        if self.observation is None:
            return x
        return jnp.clip((x - self.observation.mean) / jnp.sqrt(self.observation.variance + 1e-8), -10, 10)

    def normalize_reward(self, reward: jax.Array) -> jax.Array:
        """Divide rewards by the deviation of the discounted return.

        Args:
          reward: [...].

        Returns:
          The same shape; where rewards are normalized, between -10 and 10.
        """
        if self.reward is None:
            return reward
        return jnp.clip(reward / jnp.sqrt(self.reward.variance + 1e-8), -10, 10)
