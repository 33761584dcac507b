"""Figure of dlcore.rl.behavior_cloning; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.rl import gridworld
from dlcore.rl.behavior_cloning import actor, learner
from dlcore.rl.dynamic_programming import greedy_policy, value_sweeps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["behavior_cloning"]


def behavior_cloning() -> "Figure":
    """A policy that copies an expert in four rooms: moves as the expert's (blue) and others (red).

    Left: demonstrations from one start (gray cells). The clone copies them without error, yet off that path only some
    moves are right, and a step aside leads there. Right: demonstrations from every cell; the same network learns all
    moves.
    """
    figure, axes = new_figure((7, 3.3), 1, 2)
    grid = gridworld.make(gridworld.MAPS["four_rooms"], gamma=0.95)
    world = gridworld.environment(grid, observation="coordinates")
    policy = np.asarray(greedy_policy(grid.mdp, value_sweeps(grid.mdp, 60)[-1])).argmax(-1)
    free = np.array([grid.rows[row][column] == "." for row, column in grid.cells])
    places = jnp.asarray(grid.cells - 5, jnp.float32)
    shows = {"one start": path_from(grid, policy, 0), "every cell": np.flatnonzero(free)}
    model = actor(world)
    train = learner(model=model, optimizer=optax.adam(1e-2), environment=world)
    for ax, (title, shown) in zip(axes, shows.items(), strict=True):
        batch = {"observation": places[shown], "action": jnp.asarray(policy[shown]), "index": jnp.asarray(shown)}
        first = train.init(jax.random.key(0), batch)
        state = jax.jit(lambda s, b: jax.lax.scan(lambda s, _: (train.update(s, b)[0], None), s, length=1500)[0])(
            first, batch
        )
        moves = np.asarray(model.apply({"params": state.params}, places).mode())
        right = moves == policy
        seen = np.isin(np.arange(len(policy)), shown)
        ax.imshow(np.nan_to_num(gridworld.on_grid(grid, 0.2 * seen), nan=1), cmap="gray_r", vmin=0, vmax=1.3)
        for (row, column), move, good in zip(grid.cells[free], moves[free], right[free], strict=True):
            color = BLUE if good else VERMILION
            ax.text(column, row, "↑→↓←"[move], ha="center", va="center", color=color, fontsize=11)
        for row, column in grid.cells[~free]:
            ax.text(column, row, grid.rows[row][column], ha="center", va="center", fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{title}: {100 * right[free].mean():.0f}% of all moves", fontsize=9)
    return figure


def path_from(grid: gridworld.GridWorld, policy: np.ndarray, state: int) -> np.ndarray:
    """States on the way from one state to an end, without the end."""
    path, moves = [], np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
    while grid.rows[grid.cells[state][0]][grid.cells[state][1]] == ".":
        path.append(state)
        state = grid.index[tuple(grid.cells[state] + moves[policy[state]])]
    return np.array(path)
