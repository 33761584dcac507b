"""Figure of dlcore.rl.recurrent_ppo; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import VERMILION, new_figure
from dlcore.rl.networks import ActorCritic, RecurrentActorCritic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["recurrent_ppo"]


def recurrent_ppo() -> "Figure":
    """How far the value of each step moves with the observation of each step, in untrained networks.

    Left: recurrent PPO reads 24 steps in order. A value depends on its own and on earlier observations, back to the
    start of its episode, where the memory is cleared (red lines). Right: PPO's network has no memory and uses the
    observation of the step alone.
    """
    figure, axes = new_figure((7, 3.0), 1, 2)
    observations = jax.random.normal(jax.random.key(0), (24, 1, 4))
    fresh = jnp.zeros((24, 1), bool).at[np.array([0, 10, 17])].set(True)
    recurrent, plain = RecurrentActorCritic(2, 0), ActorCritic(2)
    memory = recurrent.memory(1)
    variables = recurrent.init(jax.random.key(1), memory, observations[0])
    others = plain.init(jax.random.key(1), observations[:, 0])

    def remembered(x: jax.Array) -> jax.Array:
        return recurrent.apply(variables, memory, x, fresh, method="sequence")[1][1][:, 0]

    def seen(x: jax.Array) -> jax.Array:
        return plain.apply(others, x[:, 0])[1]

    for ax, values, title in ((axes[0], remembered, "recurrent PPO"), (axes[1], seen, "PPO")):
        slopes = np.asarray(jax.jit(jax.jacrev(values))(observations))
        moved = np.linalg.norm(slopes[:, :, 0], axis=-1)
        image = ax.imshow(np.log10(moved + 1e-12), cmap="Blues", vmin=-5, vmax=0, extent=(0, 24, 24, 0))
        for start in (10, 17) if title != "PPO" else ():
            ax.plot([0, 24], [start, start], "--", color=VERMILION, linewidth=0.8)
            ax.plot([start, start], [0, 24], "--", color=VERMILION, linewidth=0.8)
        ax.set(xlabel="step of the observation", ylabel="step of the value")
        ax.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes, label="slope of the value (log10)")
    return figure
