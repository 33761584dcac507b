"""Figure of dlcore.rl.inverse; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import new_figure
from dlcore.rl import gridworld
from dlcore.rl.inverse import demonstrate, explain, soft_policy, visits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inverse"]


def inverse() -> "Figure":
    """Maximum-entropy inverse reinforcement learning on a grid of 5 x 7 cells.

    Left: the true reward, which nobody tells. Middle: how often 60 demonstrations of an expert visit each cell.
    Right: the reward under which these demonstrations are the most probable. It finds the goal at the lower right;
    what it says of cells that were hardly visited is a guess.
    """
    figure, axes = new_figure((7, 2.1), 1, 3)
    grid = gridworld.make(gridworld.open_map(5, 7), gamma=0.95)
    reward = jnp.zeros(35).at[-1].set(1.0)
    policy = soft_policy(grid.mdp, 3 * reward, 16)
    experts = demonstrate(grid.mdp, policy, jax.random.key(0), 60)
    found = explain(grid.mdp, experts, steps=150, l2=0.02)
    shown = {"true reward": reward, "visits of the expert": visits(experts), "found reward": found.reward}
    for ax, (title, values) in zip(axes, shown.items(), strict=True):
        ax.imshow(gridworld.on_grid(grid, np.asarray(values, np.float64)), cmap="viridis")
        ax.set_title(title, fontsize=9)
        ax.set(xticks=[], yticks=[])
    return figure
