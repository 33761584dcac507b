"""Tabular Q-learning on a slippery grid, five seeds at once, compared with value iteration.

python -m experiments.rl.q_learning                         (q_error 0.025)
python -m experiments.rl.q_learning --environment=pit       (q_error 0.006)

`q_error` is the largest distance of a value to the best one, which value iteration finds. Four rooms: 0.029, 0.038,
0.013, 0.028 and 0.015 by seed after 2.56 million steps each, and below 0.05 in every seed from 1.28 million steps on;
3.5 min on a core shared with other jobs.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.experiment import Experiment, Flags, PositiveInt, Range, Setup
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.rl import dynamic_programming, gridworld, q_learning
from dlcore.tasks.environments import SMOKE, Episodes


def grid_of(flags: Flags) -> gridworld.GridWorld:
    return gridworld.make(
        gridworld.MAPS[flags.environment], gamma=flags.gamma, slip=flags.slip, step_reward=flags.step_reward
    )


def best_values(grid: gridworld.GridWorld) -> np.ndarray:
    return np.asarray(dynamic_programming.action_values(grid.mdp, dynamic_programming.value_iteration(grid.mdp).values))


def q_error(grid: gridworld.GridWorld, num_seeds: int) -> Evaluator:
    """Measure tables [S, A] or [seeds, S, A] against the best values: the mean of the seeds, and each of them."""

    def finish(tables):
        tables = np.asarray(tables).reshape(num_seeds, grid.mdp.num_states, grid.mdp.num_actions)
        errors = np.abs(tables - best)[:, ~grid.mdp.absorbing].max((1, 2))
        return dict(zip(names, map(float, (errors.mean(), *errors)), strict=False))

    best = best_values(grid)
    names = ("q_error", *(f"q_error/seed{k}" for k in range(num_seeds) if num_seeds > 1))
    return Evaluator(
        add=lambda tables, outputs, rows: tables, finish=finish, names=names, start=lambda state: state.params
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grids(Episodes):
    """Slippery grids, whose best values are known.

    Args:
      environment: a map of a grid
      slip: probability of moving to a side
      step_reward: reward of every move
      max_steps: time limit of an episode in steps
      precision: compute precision; this experiment has no other
    """

    environment: Annotated[Literal[tuple(gridworld.MAPS)], "essential"] = "four_rooms"
    slip: Annotated[float, Range(0, 1)] = 0.1
    step_reward: float = -0.02
    max_steps: PositiveInt = 100
    precision: Literal["f32"] = "f32"

    monitor = headline = "q_error"
    monitor_mode: ClassVar[str] = "min"

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {"environment": gridworld.environment(grid_of(setup.flags), setup.flags.max_steps)}

    def evaluators(self, setup: Setup, splits: Any, split: str) -> list[Evaluator]:
        return [q_error(grid_of(setup.flags), setup.flags.num_seeds)]

    def panels(self, context: Any) -> list:
        from dlcore.report.figure import figure_panel, new_figure
        from dlcore.report.gridworld import draw_grid

        grid = grid_of(context.flags)
        tables = np.asarray(context.state.params).reshape(-1, grid.mdp.num_states, grid.mdp.num_actions)
        best, free = best_values(grid), ~grid.mdp.absorbing[:, None]
        figure, axes = new_figure((12, 3.6), 1, 3)
        limits = best.max(1).min(), best.max()
        for ax, table, title in zip(axes, (tables[0], best), ("learned by seed 0", "exact"), strict=False):
            table = np.where(free, table, 0)
            policy = np.eye(4)[table.argmax(1)] * free
            draw_grid(ax, gridworld.on_grid(grid, table.max(1)), gridworld.on_grid(grid, policy), title, limits)
        error = np.abs(np.where(free, tables[0] - best, 0)).max(1)
        draw_grid(axes[2], gridworld.on_grid(grid, error), title="largest error of a cell's four values")
        caption = "Colors are the value of the best action, arrows that action."
        return [figure_panel("Values and policy", figure, caption), *super().panels(context)]


experiment = Experiment(
    __file__,
    __doc__,
    q_learning.learner,
    task=Grids(),
    defaults={"steps": 400, "batch_size": 64, "step_power": 0.85, "eval_every": 20, "select": "last"},
    smoke={**SMOKE, "max_steps": 8},
)

if __name__ == "__main__":
    main(experiment)
