"""Tabular Q-learning on a slippery grid, five seeds at once, compared with value iteration.

python -m experiments.rl.q_learning                         (q_error 0.025)
python -m experiments.rl.q_learning --environment=pit       (q_error 0.006)

`q_error` is the largest distance of a value to the best one, which value iteration finds. Four rooms: 0.029, 0.038,
0.013, 0.028 and 0.015 by seed after 2.56 million steps each, and below 0.05 in every seed from 1.28 million steps on;
3.5 min on a core shared with other jobs.
"""

from typing import Literal

import numpy as np

from dlcore.experiment import Experiment, Flags, Setting, Setup
from dlcore.experiment.settings import ONLY_F32
from dlcore.kits.rl import agents
from dlcore.learner import Evaluator, Range
from dlcore.main import main
from dlcore.rl import dynamic_programming, gridworld, q_learning
from dlcore.run.seeds import over_seeds

SETTINGS = {
    "environment": Setting("four_rooms", "a map of a grid", Literal[tuple(gridworld.MAPS)], essential=True),
    "slip": Setting(0.1, "probability of moving to a side", limits=Range(0, 1)),
    "step_reward": Setting(-0.02, "reward of every move"),
    "max_steps": Setting(100, "time limit of an episode in steps", limits=Range(1)),
    **{name: agents.SETTINGS[name] for name in ("num_seeds", "eval_episodes")},
    **ONLY_F32,
}


def grid_of(flags: Flags) -> gridworld.GridWorld:
    return gridworld.make(
        gridworld.MAPS[flags.environment], gamma=flags.gamma, slip=flags.slip, step_reward=flags.step_reward
    )


def best_values(grid: gridworld.GridWorld) -> np.ndarray:
    return np.asarray(dynamic_programming.action_values(grid.mdp, dynamic_programming.value_iteration(grid.mdp).values))


def build(setup: Setup):
    environment = gridworld.environment(grid_of(setup.flags), setup.flags.max_steps)
    learner = q_learning.learner(environment=environment, **setup.flags.group("learner"))
    return over_seeds(learner, setup.flags.num_seeds)


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


def panels(context) -> list:
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
    note = "Colors are the value of the best action, arrows that action."
    return [figure_panel("Values and policy", figure, note), *agents.panels(context)]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=q_learning.learner,
    data=agents.data,
    build=build,
    settings=SETTINGS,
    defaults={"steps": 400, "batch_size": 64, "step_power": 0.85, "eval_every": 20, "select": "last"},
    smoke=agents.SMOKE | {"max_steps": 8},
    monitor="q_error",
    monitor_mode="min",
    headline="q_error",
    evaluators=lambda setup, data, split: [q_error(grid_of(setup.flags), setup.flags.num_seeds)],
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)
