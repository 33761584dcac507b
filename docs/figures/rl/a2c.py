"""Figure of dlcore.rl.a2c; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.rl import gridworld
from dlcore.rl.a2c import learner
from dlcore.rl.networks import actor_critic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["a2c"]


def a2c() -> "Figure":
    """A2C in a corridor of 12 cells and a goal, by the length of a rollout (1, 5, 20 steps).

    Left: return by the steps of 16 worlds together. Short rollouts give more updates for the same experience; 20 steps
    (green) make the fewest and learn last. Right: the critic's values at the end; those of 20 steps are still far from
    the best policy's.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    grid = gridworld.make("." * 12 + "G", gamma=0.95, step_reward=-0.05)
    world = gridworld.environment(grid, max_steps=60)
    model, batch = actor_critic(world, 32), {"index": jnp.arange(16)}
    for steps, color, style in ((1, VERMILION, "-."), (5, BLUE, "-"), (20, GREEN, "--")):
        train = learner(
            model=model, optimizer=optax.adam(3e-3), environment=world, num_steps=steps, num_rollouts=100 // steps
        )

        def update(state, _, train=train):
            state, metrics = train.update(state, batch)
            return state, metrics["return"].total / metrics["return"].count

        state, returns = jax.jit(lambda s, f=update: jax.lax.scan(f, s, length=15))(
            train.init(jax.random.key(0), batch)
        )
        left.plot(1.6 * np.arange(1, 16), returns, style, color=color, label=f"rollout {steps}")
        values = model.apply({"params": state.params}, jnp.eye(13))[1]
        right.plot(np.arange(12, 0, -1), values[:12], style, color=color, label=f"rollout {steps}")
    distance = np.arange(12, 0, -1)
    right.plot(
        distance, 0.99 ** (distance - 1) - 0.05 * (1 - 0.99**distance) / 0.01, ":", color=GRAY, label="best policy"
    )
    left.set(xlabel="thousand steps in the world", ylabel="return of an episode")
    right.set(xlabel="steps to the goal", ylabel="value that the critic gives")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    return figure
