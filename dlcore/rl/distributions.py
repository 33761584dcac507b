"""Distributions over actions, the outputs of a policy network.

    Categorical       log p(a) = logits_a - logsumexp(logits)
    DiagonalGaussian  log p(a) = sum_i log N(a_i; mu_i, sigma_i)
    TanhGaussian      a = tanh(u), u ~ DiagonalGaussian;  log p(a) = log p(u) - sum_i log(1 - tanh(u_i)^2)

The last term is 2 (log 2 - u - softplus(-2 u)), which stays finite where tanh(u) rounds to 1 (Haarnoja et al. 2018,
"Soft actor-critic", arXiv:1801.01290, appendix C, in the form that does not cancel). A squashed action cannot be
inverted there, so that its density comes with its sample.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from dlcore.losses.divergence import entropy_loss
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_indices, check_logits, check_shapes

__all__ = ["Categorical", "DiagonalGaussian", "TanhGaussian"]

LOG_2PI = math.log(2 * math.pi)


@struct.dataclass
class Categorical:
    """Categorical distribution over A actions.

    Args:
      logits: [..., A]; -inf for an action that is not allowed.
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions.

        Args:
          key: random key.

        Returns:
          [...] int32.
        """
        check_logits("logits", self.logits)
        return sample_categorical(key, self.logits)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Compute the log-probability of actions.

        Args:
          action: [...] int.

        Returns:
          [...].
        """
        check_shapes(action=(action, "int ..."), logits=(self.logits, "... A"))
        check_indices("action", action, self.logits.shape[-1], "actions")
        return jnp.take_along_axis(jax.nn.log_softmax(self.logits), action[..., None], -1)[..., 0]

    def entropy(self) -> jax.Array:
        """Compute -sum_a p(a) log p(a).

        Returns:
          [...], in nats.
        """
        return entropy_loss(self.logits)

    def mode(self) -> jax.Array:
        """Choose the most probable action.

        Returns:
          [...] int32.
        """
        check_logits("logits", self.logits)
        return self.logits.argmax(-1).astype(jnp.int32)


@struct.dataclass
class DiagonalGaussian:
    """Normal distribution with a diagonal covariance.

    Args:
      mean: [..., A].
      log_std: [..., A], or [A] for the deviations of all.
    """

    mean: jax.Array
    log_std: jax.Array

    def _log_std(self) -> jax.Array:
        """Return the log-deviations [..., A] of all means."""
        check_shapes(mean=(self.mean, "... A"), log_std=(self.log_std, "... A" if self.log_std.ndim > 1 else "A"))
        return jnp.broadcast_to(self.log_std, self.mean.shape)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions; gradients pass to mean and deviation.

        Args:
          key: random key.

        Returns:
          [..., A].

        Raises:
          ValueError: the deviations do not fit the means.
        """
        return self.mean + jnp.exp(self._log_std()) * jax.random.normal(key, self.mean.shape)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Compute the log-density of actions.

        Args:
          action: [..., A].

        Returns:
          [...].
        """
        check_shapes(action=(action, "... A"), mean=(self.mean, "... A"))
        log_std = self._log_std()
        z = (action - self.mean) * jnp.exp(-log_std)
        return -(0.5 * jnp.square(z) + log_std + 0.5 * LOG_2PI).sum(-1)

    def entropy(self) -> jax.Array:
        """Compute the differential entropy.

        Returns:
          [...], in nats.

        Raises:
          ValueError: the deviations do not fit the means.
        """
        return (self._log_std() + 0.5 * (1 + LOG_2PI)).sum(-1)

    def mode(self) -> jax.Array:
        """Choose the densest action.

        Returns:
          [..., A].
        """
        return self.mean


@struct.dataclass
class TanhGaussian:
    """Tanh-squashed normal distribution with a diagonal covariance: vectors in (-1, 1).

    Args:
      mean: [..., A], of the normal numbers.
      log_std: [..., A], of the normal numbers.
    """

    mean: jax.Array
    log_std: jax.Array

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw actions with their exact log-density; gradients pass to mean and deviation.

        Args:
          key: random key.

        Returns:
          (actions [..., A], log-densities [...]).
        """
        normal = DiagonalGaussian(self.mean, self.log_std)
        u = normal.sample(key)
        # log(1 - tanh(u)^2), without cancellation at large u.
        log_slope = 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))
        return jnp.tanh(u), normal.log_prob(u) - log_slope.sum(-1)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions.

        Args:
          key: random key.

        Returns:
          [..., A].
        """
        return self.sample_and_log_prob(key)[0]

    def mode(self) -> jax.Array:
        """Squash the mean, the median of each number.

        Returns:
          [..., A].
        """
        return jnp.tanh(self.mean)
