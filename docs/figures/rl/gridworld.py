"""Figure of dlcore.rl.gridworld; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import new_figure
from dlcore.rl.gridworld import ACTIONS, make, on_grid, open_map
from dlcore.rl.mdp import state_distributions, transition_matrix, uniform_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gridworld"]


def gridworld() -> "Figure":
    """A grid of 5 x 7 cells whose floor is slippery: with a chance of 0.3 a step goes to one of the sides.

    Left: where one step to the right leads from the middle. Middle and right: where the uniform policy is after 5 and
    after 40 steps from a random cell. A random walk finds the goal at the lower right slowly, and the goal keeps what
    reaches it.
    """
    figure, axes = new_figure((7, 2.2), 1, 3)
    grid = make(open_map(5, 7), slip=0.3)
    step = transition_matrix(grid.mdp)[17, ACTIONS.index("right")]
    walk = state_distributions(grid.mdp, jnp.asarray(uniform_policy(grid.mdp)), 41)
    shown = {"one step to the right": step, "5 random steps": walk[5], "40 random steps": walk[40]}
    for ax, (title, shares) in zip(axes, shown.items(), strict=True):
        cells = 100 * on_grid(grid, np.asarray(shares))
        ax.imshow(cells, cmap="Blues", vmin=0, vmax=30)
        for (row, column), share in np.ndenumerate(cells):
            if share >= 0.5:
                color = "white" if share > 15 else "black"
                ax.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
        ax.set_title(f"{title} (%)", fontsize=9)
        ax.set(xticks=[], yticks=[])
    return figure
