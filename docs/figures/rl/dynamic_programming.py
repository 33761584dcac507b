"""Figure of dlcore.rl.dynamic_programming; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import new_figure
from dlcore.rl import gridworld
from dlcore.rl.dynamic_programming import greedy_policy, value_sweeps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dynamic_programming"]


def dynamic_programming() -> "Figure":
    """Value iteration on a grid of 5 x 7 cells with the goal at the lower right: values and best moves.

    A sweep carries the reward of the goal one cell further. Where no value has arrived all moves are equal, and the
    first, up, is drawn. After 10 sweeps, as many as the longest way has steps, every arrow is on a shortest path.
    """
    figure, axes = new_figure((7, 2.1), 1, 3)
    grid = gridworld.make(gridworld.open_map(5, 7), gamma=0.9)
    sweeps = value_sweeps(grid.mdp, 10)
    moves = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
    for ax, count in zip(axes, (1, 4, 10), strict=True):
        ax.imshow(gridworld.on_grid(grid, np.asarray(sweeps[count])), cmap="Blues", vmin=0, vmax=1.3)
        best = np.asarray(greedy_policy(grid.mdp, sweeps[count])).argmax(-1)
        for (row, column), action in zip(grid.cells[:-1], best[:-1], strict=True):
            down, right = moves[action]
            ax.arrow(column - 0.25 * right, row - 0.25 * down, 0.25 * right, 0.25 * down, head_width=0.2)
        ax.text(6, 4, "goal", ha="center", va="center", fontsize=7)
        ax.set_title(f"{count} sweep{'s' if count > 1 else ''}", fontsize=9)
        ax.set(xticks=[], yticks=[])
    return figure
