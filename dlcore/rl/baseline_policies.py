"""Returns of untrained baseline policies."""

import jax
import jax.numpy as jnp

from dlcore.learner import root_key
from dlcore.rl.environments import Environment, random_actions, rollout_episode

__all__ = ["EPISODES", "trivial_returns"]

EPISODES = 100


def trivial_returns(environment: Environment) -> dict[str, float]:
    """Measure the mean return of each baseline policy over 100 episodes.

    Args:
      environment: environment of the episodes.

    Returns:
      Mean returns: "random_return" of uniform actions and, where actions are continuous, "zero_return" of zeros.
    """
    policies = {"random_return": lambda key, _: random_actions(environment, key[None])[0]}
    if size := environment.action_size:
        policies["zero_return"] = lambda key, _: jnp.zeros(size)
    keys = jax.random.split(root_key(1), EPISODES)

    def mean(policy):
        return jax.jit(jax.vmap(lambda key: rollout_episode(environment, policy, key, environment.max_steps)[0]))(
            keys
        ).mean()

    return {name: float(mean(policy)) for name, policy in policies.items()}
