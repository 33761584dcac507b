"""Figure of dlcore.rl.normalization; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.rl.environments import make, random_actions
from dlcore.rl.normalization import Normalizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["normalization"]


def normalization() -> "Figure":
    """Observations and rewards of 16 pendulums under random actions for 400 steps, as they are and normalized.

    Left and middle: median, quartiles and 5% to 95% of each entry of the observation; normalized, all have mean 0 and
    the same deviation. Right: rewards are divided by the deviation of the discounted return, which keeps their sign.
    """
    figure, (left, middle, right) = new_figure((7, 2.9), 1, 3)
    environment = make("Pendulum-v1")
    keys = jax.random.split(jax.random.key(0), 16)
    state, observation = jax.vmap(environment.reset)(keys)

    def step(carry, number):
        state, normalizer = carry
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        state, out = jax.vmap(environment.step)(now, state, random_actions(environment, now))
        normalizer = normalizer.update(out.observation, out.reward, out.terminated | out.truncated, 0.99)
        return (state, normalizer), (out.observation, out.reward)

    start = Normalizer.start(observation, observations=True, rewards=True)
    (_, normalizer), (seen, reward) = jax.lax.scan(step, (state, start), jnp.arange(400))
    for ax, values, name in ((left, seen, "as observed"), (middle, normalizer.normalize_obs(seen), "normalized")):
        ax.boxplot(
            list(np.asarray(values).reshape(-1, 3).T),
            whis=(5, 95),
            showfliers=False,
            tick_labels=("cos", "sin", "speed"),
        )
        ax.set(title=name)
    left.set_ylabel("value")
    middle.set_ylim(left.get_ylim())
    for values, color, name in (
        (reward, VERMILION, "reward"),
        (normalizer.normalize_reward(reward), BLUE, "normalized"),
    ):
        right.hist(-np.ravel(values), np.geomspace(1e-4, 20, 50), color=color, alpha=0.6, label=name)
    right.set(xlabel="-reward", ylabel="steps", xscale="log", ylim=(0, 1600))
    right.legend(frameon=False, loc="upper left")
    return figure
