"""Simple methods on control: rules of a line, and random search among linear policies."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment.resolve import resolve
from dlcore.learner import root_key
from dlcore.rl.environments import trace
from experiments import find_experiment
from experiments.simple.method import SimpleMethod

__all__ = ["METHODS"]

CARTPOLE = ("ppo-cartpole", "dqn-cartpole", "a2c-cartpole", "behavior-cloning-cartpole", "gail-cartpole")
HIDDEN = ("recurrent-ppo-cartpole", "ppo-cartpole-hidden")
"""Rows whose agents see the positions alone."""


class _Episodes:
    """Episodes of a page: as many as its row measures, and as many others on which choices are made.

    Args:
      page: such as rl.dqn.
      words: flags of the page.
      seed: seed of the first states.
      policy: (gains, memory, observation) -> (memory, action).
      memory: what the policy remembers at the start of an episode.
    """

    def __init__(self, page: str, words: Sequence[str], seed: int, policy: Callable[..., Any], memory: Any = ()):
        experiment = find_experiment(page)
        data = experiment.run(resolve(experiment, list(words)), {}, 1, None).parts.data
        environment, count = data.build(), data.num_seeds * data.eval_episodes
        self._keys = jax.random.split(root_key(seed), 2 * count).reshape(2, count)

        def one(gains, key):
            rollout = trace(
                environment, lambda _, memory, x: policy(gains, memory, x), memory, key, environment.max_steps
            )
            return rollout.reward.sum()

        self._mean = jax.jit(lambda gains, keys: jax.vmap(functools.partial(one, gains))(keys).mean())

    def valid(self, gains: Any, count: int | None = None) -> float:
        """Measure the mean return of episodes for choices, of the first `count` of them."""
        return float(self._mean(gains, self._keys[0, :count]))

    def test(self, gains: Any) -> float:
        """Measure the mean return of the test episodes."""
        return float(self._mean(gains, self._keys[1]))

    def best(self, candidates: Sequence[Any], count: int | None = None) -> float:
        """Choose the best gains on the episodes for choices; returns their mean return on the test episodes."""
        return self.test(max(candidates, key=lambda gains: self.valid(gains, count)))


def cartpole_rule(seed: int) -> float:
    """Push the cart to where the pole leans and turns."""

    def policy(gains, memory, x):
        return memory, (x[2] + gains * x[3] > 0).astype(jnp.int32)

    return _Episodes("rl.dqn", (), seed, policy).best((0.0, 0.25, 0.5, 1.0))


def cartpole_hidden_rule(seed: int) -> float:
    """Push the cart to where the pole leans and turns, by the difference of the last two angles."""

    def policy(gains, last, x):
        turning = jnp.where(jnp.isnan(last), 0, x[1] - last)
        return x[1], (x[1] + gains * turning > 0).astype(jnp.int32)

    episodes = _Episodes("rl.ppo", ("--mask_velocities",), seed, policy, jnp.array(jnp.nan))
    return episodes.best((0.0, 5.0, 10.0, 25.0, 50.0))


def cartpole_search(seed: int) -> float:
    """Draw linear policies until one holds the pole through an episode, and through five more."""

    def policy(gains, memory, x):
        return memory, (gains @ x > 0).astype(jnp.int32)

    episodes, rng = _Episodes("rl.dqn", (), seed, policy), np.random.default_rng(seed)
    samples = (rng.normal(size=4).astype(np.float32) for _ in range(500))
    matches = (gains for gains in samples if episodes.valid(gains, 1) == 500 and episodes.valid(gains, 6) == 500)
    return episodes.test(next(matches))


def mountain_car_rule(seed: int) -> float:
    """Push the car to where it drives."""

    def policy(gains, memory, x):
        return memory, jnp.where(x[1:] < 0, -gains, gains)

    words = ("--environment=MountainCarContinuous-v0", "--repeat_actions=8")
    return _Episodes("rl.sac", words, seed, policy).best((0.2, 0.4, 0.6, 0.8, 1.0))


def pendulum_rule(seed: int) -> float:
    """Swing the pendulum up by its energy, and hold it there by its angle and velocity; the gains are drawn."""

    def policy(gains, memory, x):
        angle, velocity = jnp.arctan2(x[1], x[0]), x[2]
        missing = 15 * (1 - x[0]) - velocity**2 / 2  # to the energy of standing upright, over m l^2 / 3
        swing = gains[0] * missing * jnp.where(velocity < 0, -1, 1)
        hold = -gains[1] * angle - gains[2] * velocity
        return memory, jnp.where(x[0] > gains[3], hold, swing)[None] / 2

    rng = np.random.default_rng(seed)
    samples = np.exp(rng.uniform(np.log((0.03, 2, 0.3, 0.4)), np.log((3, 30, 6, 0.99)), (150, 4))).astype(np.float32)
    return _Episodes("rl.td3", ("--eval_episodes=100",), seed, policy).best(list(samples), 50)


def acrobot_rule(seed: int) -> float:
    """Turn the second joint against, or with, the velocity of a joint: what is best of four."""

    def policy(gains, memory, x):
        return memory, jnp.where(gains @ x[4:] > 0, 2, 0)

    words = ("--environment=Acrobot-v1", "--eval_episodes=100")
    candidates = [np.array(pair, np.float32) for pair in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    return _Episodes("rl.a2c", words, seed, policy).best(candidates, 50)


def breakout_rule(seed: int) -> float:
    """Go where the ball will come down; walls mirror its path."""

    def policy(gains, memory, x):
        (paddle,), (y, column), (last_y, last_column) = (
            [part.any(axis).argmax() for axis in axes]
            for part, axes in ((x[..., 0], (0,)), (x[..., 1], (1, 0)), (x[..., 2], (1, 0)))
        )
        sideways = jnp.where(column == last_column, jnp.where(column == 0, 1, -1), column - last_column)
        falls = jnp.where(y == last_y, y < 8, y > last_y)
        # The lowest bricks are in row 3; after the row 8 the ball meets the paddle.
        steps = jnp.where(falls, 8 - y, jnp.maximum(y - 4, 0) + 5)
        target = (column + sideways * steps) % 20
        target = jnp.where(target < 10, target, 19 - target)
        return memory, jnp.where(target < paddle, 1, jnp.where(target > paddle, 2, 0))

    words = ("--environment=Breakout-MinAtar", "--num_seeds=1")
    return _Episodes("rl.dqn", words, seed, policy).test(0.0)


METHODS = [
    SimpleMethod(
        "cartpole-rule",
        CARTPOLE,
        "test return",
        "higher",
        "push to where the pole leans and turns",
        cartpole_rule,
        knows="what the numbers of the observation mean",
    ),
    SimpleMethod(
        "cartpole-search",
        CARTPOLE,
        "test return",
        "higher",
        "random search among linear policies",
        cartpole_search,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "cartpole-hidden-rule",
        HIDDEN,
        "test return",
        "higher",
        "push to where the pole leans and turns, by the last two angles",
        cartpole_hidden_rule,
        knows="what the numbers of the observation mean",
    ),
    SimpleMethod(
        "mountain-car-rule",
        ("sac-mountain-car",),
        "test return",
        "higher",
        "a constant force to where the car drives",
        mountain_car_rule,
        knows="what the numbers of the observation mean",
    ),
    SimpleMethod(
        "pendulum-rule",
        ("td3-pendulum", "sac-pendulum", "model-based-pendulum", "ppo-pendulum"),
        "test return",
        "higher",
        "swing up by the energy, hold by angle and velocity; four gains of 150 draws",
        pendulum_rule,
        knows="the physics of the pendulum",
    ),
    SimpleMethod(
        "acrobot-rule",
        ("ppo-acrobot", "a2c-acrobot"),
        "test return",
        "higher",
        "torque by the sign of a joint's velocity",
        acrobot_rule,
        knows="what the numbers of the observation mean",
    ),
    SimpleMethod(
        "breakout-rule",
        ("dqn-breakout", "ppo-breakout", "ppo-breakout-1000"),
        "test return",
        "higher",
        "go where the ball will come down",
        breakout_rule,
        knows="how the ball moves",
    ),
]
