"""Experiments up to their first steps, without the engine: what tests of weights to start from share."""

from typing import Any, NamedTuple

import jax

from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Learner
from dlcore.weights.check import load_data
from experiments import find_experiment

__all__ = ["StartedPage", "start_page"]


class StartedPage(NamedTuple):
    """An experiment before its first step.

    Args:
      learner: its learner.
      state: the state, with the weights that `--init_from` names.
      batch: a training batch.
      setup: facts of the run.
    """

    learner: Learner
    state: Any
    batch: Any
    setup: Run

    def steps(self, count: int) -> Any:
        """Take training steps on the batch; return (the state, the metrics of the last step)."""
        update, state, metrics = jax.jit(self.learner.update), self.state, None
        for _ in range(count):
            state, metrics = update(state, self.batch)
        return state, metrics


def start_page(page: str, *words: str, batch_size: int = 2) -> StartedPage:
    """Start an experiment of a command line, in the sizes of --smoke.

    Args:
      page: name of the experiment.
      *words: its flags.
      batch_size: examples of the batch.
    """
    experiment = find_experiment(page)
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", "--steps=2", *words]))
    experiment.run(run.flags).check()
    splits = load_data(run)
    setup = run.training_of(splits)
    learner, batch = setup.build(), splits.train[:batch_size]
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    start = setup.start()
    if start is not None:
        start.check(state)
        state = start(state)
    return StartedPage(learner, state, batch, setup)
