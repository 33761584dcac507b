"""Tabular Q-learning on a slippery grid, five seeds at once, compared with value iteration.

python -m experiments.rl.q_learning                         (q_error 0.025)
python -m experiments.rl.q_learning --environment=pit       (q_error 0.006)

`q_error` is the largest distance of a value to the best one, which value iteration finds. Four rooms: 0.029, 0.038,
0.013, 0.028 and 0.015 by seed after 2.56 million steps each, and below 0.05 in every seed from 1.28 million steps on;
3.5 min on a core shared with other jobs.
"""

import dataclasses
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.splits import Splits
from dlcore.evaluators.returns import return_panels
from dlcore.experiment import Experiment, PositiveInt, Range, Steps
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator, Learner
from dlcore.main import main
from dlcore.report.panel import Panel
from dlcore.rl import dynamic_programming, gridworld, q_learning
from dlcore.rl.gymnax_environments import episode_splits
from dlcore.rl.seeds import over_seeds
from experiments.smoke import ENVIRONMENTS


def grid_of(run: Run) -> gridworld.GridWorld:
    data, gamma = run.parts.data, run.parts.technique.keywords["gamma"]
    return gridworld.make(gridworld.MAPS[data.environment], gamma=gamma, slip=data.slip, step_reward=data.step_reward)


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


@dataclasses.dataclass(frozen=True)
class Grids:
    """Slippery grids: instances to train in, and episodes to measure, many seeds at once.

    Args:
      environment: a map of a grid
      num_seeds: seeds trained side by side in one step
      eval_episodes: episodes of each evaluation
      slip: probability of moving to a side
      step_reward: reward of every move
      max_steps: time limit of an episode in steps
      precision: compute precision; this experiment has no other
    """

    environment: Annotated[Literal[tuple(gridworld.MAPS)], "essential"] = "four_rooms"
    num_seeds: Annotated[int, Range(1)] = 5
    eval_episodes: Annotated[int, Range(1)] = 20
    slip: Annotated[float, Range(0, 1)] = 0.1
    step_reward: float = -0.02
    max_steps: PositiveInt = 100
    precision: Literal["f32"] = "f32"

    reads_files: ClassVar[bool] = False

    def load(self, seed: int = 0, batch_size: int = 128) -> Splits:
        return episode_splits(self.environment, batch_size, self.eval_episodes)

    def arguments(self, run: Run) -> dict[str, Any]:
        return {"environment": gridworld.environment(grid_of(run), self.max_steps)}

    def wrap(self, learner: Learner, run: Run) -> Learner:
        return over_seeds(learner, self.num_seeds)


class DistanceToBestValues:
    """Distance of the table to the best values, which value iteration finds; the report draws both."""

    metric = "q_error"
    mode = "min"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        return [q_error(grid_of(run), run.parts.data.num_seeds)]

    def panels(self, context: Any, run: Run) -> list[Panel]:
        from dlcore.report.figure import figure_panel, new_figure
        from dlcore.report.gridworld import draw_grid

        grid = grid_of(run)
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
        return [figure_panel("Values and policy", figure, caption), *return_panels(context)]


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(q_learning.learner, gamma=0.9, epsilon=0.8, step_power=0.85),
    data=Grids("four_rooms", num_seeds=5, eval_episodes=20, slip=0.1, step_reward=-0.02, max_steps=100),
    length=Steps(400, batch_size=64, eval_every=20, select="last"),
    measures=[DistanceToBestValues()],
    smoke={**ENVIRONMENTS, "max_steps": 8},
)

if __name__ == "__main__":
    main(experiment)
