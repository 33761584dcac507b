"""Figure of dlcore.rl.q_learning; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.rl import gridworld
from dlcore.rl.dynamic_programming import value_sweeps
from dlcore.rl.q_learning import learner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["q_learning"]


def q_learning() -> "Figure":
    """Values that Q-learning finds by trial on a slippery grid with a goal and a pit.

    Left and middle: value of each cell's best action after 200 and 6400 steps. Right: largest error against values
    computed from the model. A constant step of 1 (gray) keeps jumping; steps of 1 / n^0.7, by the visits n (blue), come
    close soon, 1 / n later.
    """
    figure, axes = new_figure((7.2, 2.3), 1, 3, width_ratios=(1, 1, 1.3))
    grid = gridworld.make(gridworld.MAPS["pit"], gamma=0.9, slip=0.2)
    true = np.asarray(value_sweeps(grid.mdp, 200)[-1])
    places = {2: axes[0], 64: axes[1]}
    for power, color, style in ((0.0, GRAY, ":"), (0.7, BLUE, "-"), (1.0, VERMILION, "--")):
        train = learner(environment=gridworld.environment(grid), step_power=power, initial_std=0.0)
        batch = {"index": jnp.arange(1)}
        state, tables = train.init(jax.random.key(0), batch), []
        update = jax.jit(train.update)
        for count in range(1, 257):
            state = update(state, batch)[0]
            tables.append(np.asarray(state.params))
            if power == 0.7 and count in places:
                draw_table(places[count], grid, tables[-1], f"after {100 * count} steps")
        errors = np.abs(np.max(tables, -1) - true)[:, np.asarray(true) != 0].max(-1)
        axes[2].plot(100 * np.arange(1, 257), errors, style, color=color, label=f"step 1 / n^{power:g}")
    axes[2].set(xlabel="steps", ylabel="largest error", xscale="log", ylim=(0, 0.75))
    axes[2].legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def draw_table(axes: "Axes", grid: gridworld.GridWorld, table: np.ndarray, title: str) -> None:
    """Draw the best value of each cell and an arrow of its action."""
    axes.imshow(gridworld.on_grid(grid, table.max(-1)), cmap="Blues", vmin=0, vmax=1.5)
    for (row, column), values in zip(grid.cells, table, strict=True):
        letter = grid.rows[row][column]
        text = f"{'↑→↓←'[values.argmax()]}\n{values.max():.2f}" if letter == "." else letter
        axes.text(column, row, text, ha="center", va="center", fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
