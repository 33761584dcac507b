"""Grid worlds from a map in letters, as Markov decision processes and as environments.

    .  free     #  wall     S  free, episodes start here     other letters end an episode, each with its reward

Actions are up, right, down and left. A move into a wall or over the edge stays where it is. With probability `slip` the
agent moves to one of the two sides instead, each half as often. Every move has `step_reward`, and into an end its
reward in addition. Sutton & Barto 2018, example 4.1, is `MAPS["corners"]` with a step reward of -1 and a goal of 0.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from dlcore.choices import check_choice
from dlcore.ops.checks import check_finite, check_shapes, describe_array
from dlcore.rl.environments import Environment
from dlcore.rl.mdp import MDP, as_environment
from dlcore.rl.mdp import make as make_mdp

__all__ = ["ACTIONS", "ENDS", "MAPS", "GridWorld", "corridor", "environment", "make", "on_grid", "open_map"]

ACTIONS = ("up", "right", "down", "left")
_MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
ENDS = {"G": 1.0, "P": -1.0}
"""Rewards of reaching a goal and a pit."""

MAPS = {
    "corners": "G...\n....\n....\n...G",
    "pit": "...G\n.#.P\n....",
    "four_rooms": "\n".join(
        [
            ".....#.....",
            ".....#.....",
            "...........",
            ".....#.....",
            ".....#.....",
            "#.####.....",
            ".....###.##",
            ".....#.....",
            ".....#.....",
            ".........P.",
            ".....#....G",
        ]
    ),
}
"""Maps by name: Sutton & Barto's example 4.1, Russell & Norvig's 4 by 3 world, and four rooms (Sutton, Precup & Singh
1999) with a goal and a pit."""


class GridWorld(NamedTuple):
    """A grid and its process.

    Args:
      rows: the map, a string a row.
      cells: [S, 2] int, row and column of each state: the cells that are no wall, row by row.
      index: [H, W] int, the state of each cell; -1 for a wall.
      mdp: MDP with the actions up, right, down, left.
    """

    rows: tuple[str, ...]
    cells: np.ndarray
    index: np.ndarray
    mdp: MDP


def open_map(height: int, width: int) -> str:
    """Draw a map without walls and with a goal in the lower right corner.

    Args:
      height: rows, at least 1.
      width: columns, at least 2.

    Returns:
      The map.
    """
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 2"))
    return "\n".join(["." * width] * (height - 1) + ["." * (width - 1) + "G"])


def corridor(length: int) -> str:
    """Draw a corridor with its start on the left and its goal on the right.

    Args:
      length: steps from the start to the goal, at least 1.

    Returns:
      The map.
    """
    check_shapes(length=(length, "int >= 1"))
    return "S" + "." * (length - 1) + "G"


def make(
    text: str, *, gamma: float = 0.95, slip: float = 0.0, step_reward: float = 0.0, ends: Mapping[str, float] = ENDS
) -> GridWorld:
    """Build a grid world from its map.

    Args:
      text: the map, a line a row, such as those of MAPS.
      gamma: discount a step.
      slip: probability of moving to a side, in [0, 1].
      step_reward: reward of every move.
      ends: letter -> reward of reaching it; an episode ends there.

    Returns:
      The grid. Without an S, episodes start in any cell that is no end.
    """
    if not isinstance(text, str):
        raise ValueError(f"text={text!r}: no map; allowed: a text, a line a row")
    if not isinstance(ends, Mapping) or any(not isinstance(letter, str) or len(letter) != 1 for letter in ends):
        raise ValueError(f"ends={ends!r}: no letters; allowed: one letter -> its reward")
    check_finite("ends", list(ends.values()))
    rows = tuple(line.strip() for line in text.strip().splitlines())
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"text: rows of {sorted({len(row) for row in rows})} cells; allowed: rows of one length")
    letters = np.array([list(row) for row in rows])
    if unknown := sorted({*letters.ravel().tolist()} - {".", "#", "S", *ends}):
        raise ValueError(f"text: unknown letter {unknown[0]!r}; allowed: {' '.join(['.', '#', 'S', *ends])}")
    check_shapes(step_reward=(step_reward, "finite"), slip=(slip, "0 to 1"))
    cells = np.argwhere(letters != "#")
    letter = letters[tuple(cells.T)]
    absorbing = np.isin(letter, list(ends))
    if absorbing.all():
        raise ValueError("text: no free cell; allowed: at least one . or S")
    index = np.full(letters.shape, -1)
    index[tuple(cells.T)] = np.arange(len(cells))
    reached = _reached(cells, index)
    # Outcomes: the move itself, and the two at right angles to it.
    turns = (np.arange(4)[:, None] + [0, 1, 3]) % 4
    probability = np.array([1 - slip, slip / 2, slip / 2])
    if slip == 0:
        turns, probability = turns[:, :1], probability[:1]
    successor = reached[:, turns]
    bonus = np.array([ends.get(a, 0.0) for a in letter])
    start = (letter == "S") if (letter == "S").any() else ~absorbing
    mdp = make_mdp(
        successor,
        np.broadcast_to(probability, successor.shape),
        step_reward + bonus[successor],
        gamma=gamma,
        absorbing=np.flatnonzero(absorbing).tolist(),
        start=start / start.sum(),
    )
    return GridWorld(rows, cells, index, mdp)


def _reached(cells: np.ndarray, index: np.ndarray) -> np.ndarray:
    """[S, 4] int: the state that each move leads to."""
    target_cells = cells[:, None] + _MOVES
    inside = np.all((target_cells >= 0) & (target_cells < index.shape), axis=-1)
    target_states = index[tuple(np.where(inside[..., None], target_cells, 0).transpose(2, 0, 1))]
    return np.where(inside & (target_states >= 0), target_states, np.arange(len(cells))[:, None])


def on_grid(grid: GridWorld, values: np.ndarray) -> np.ndarray:
    """Put the states' values where their cells are.

    Args:
      grid: the grid.
      values: [S, ...].

    Returns:
      [H, W, ...] float, NaN at walls.
    """
    values = np.asarray(values, np.float64)
    if values.shape[:1] != (len(grid.cells),):
        raise ValueError(
            f"values={describe_array(values)}: wrong shape; allowed: [{len(grid.cells)}, ...], one a state"
        )
    values_on_grid = values[grid.index]
    values_on_grid[grid.index < 0] = np.nan
    return values_on_grid


def environment(
    grid: GridWorld, max_steps: int = 100, observation: Literal["one_hot", "coordinates"] = "one_hot"
) -> Environment:
    """Turn a grid into an environment.

    Args:
      grid: the grid.
      max_steps: after which an episode is truncated.
      observation: the state as a one-hot vector [S], or its row and column, each divided by the grid's size, [2].

    Returns:
      The environment.
    """
    check_choice("observation", observation, ("one_hot", "coordinates"))
    observations = None if observation == "one_hot" else grid.cells / np.array(grid.index.shape)
    return as_environment(grid.mdp, max_steps, observations, "gridworld")
