"""Returns of episodes beside those of untrained policies, with panels of curves and a film."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator, root_key
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.rl.baseline_policies import trivial_returns
from dlcore.rl.gymnax_environments import STEPS, environment_steps
from dlcore.rl.seeds import split_by_seed

__all__ = ["EpisodeReport", "Returns", "film_episode", "return_panels"]

_MOST_FRAMES = 100


class EpisodeReport:
    """Report of agents: returns by seed, a film of an episode, and all curves."""

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Draw the panels."""
        environment = run.parts.data.build()
        return return_panels(context, film_episode(context, environment, run.parts.network.build(environment)))


def film_episode(context: ReportContext, environment: Any, model: Any) -> list[Panel]:
    """Film the first test episode of the best seed; no panel if the environment cannot be drawn.

    Args:
      environment: the environment.
      model: the network that acts.
    """
    from dlcore.report.environments import draw_environment
    from dlcore.report.film import film
    from dlcore.rl import environments

    flags, state = context.flags, context.state
    seed = 0
    if flags.num_seeds > 1:
        seed = int(np.asarray(context.outputs["return"]).mean(0).argmax())
        state = jax.tree.map(lambda x: x[seed], state.inner)
    memory = model.memory(1) if hasattr(model, "memory") else None

    def policy(_, memory, observation):
        if hasattr(state, "normalizer"):
            observation = state.normalizer.normalize_obs(observation)
        inputs = (observation[None],) if memory is None else (memory, observation[None])
        outputs: Any = model.apply({"params": state.params}, *inputs)
        if memory is not None:
            memory, outputs = outputs
        distribution = outputs[0] if isinstance(outputs, tuple) else outputs
        return memory, (distribution.mode() if hasattr(distribution, "mode") else distribution.argmax(-1))[0]

    def episode_of(key):
        return environments.trace(environment, policy, memory, key, environment.max_steps)

    episode = jax.device_get(jax.jit(episode_of)(root_key(flags.seed)))
    states, observations, length = episode.state, episode.observation, int(episode.running.sum())
    while hasattr(states, "inner"):
        states = states.inner
    interval = max(1, length // _MOST_FRAMES)
    frame_steps = range(0, length, interval)
    drawings = (
        draw_environment(flags.environment, jax.tree.map(lambda x, t=t: x[t], states), observations[t])
        for t in frame_steps
    )
    frames = [frame for frame in drawings if frame is not None]
    if not frames:
        return []
    frames_of = "each step" if interval == 1 else f"one step in {interval}"
    caption = f"Seed {seed}, the most probable or most valued action; {length} steps, {frames_of} shown."
    return [film(frames, "An episode", caption, 40 * interval)]


class Returns:
    """Return of an episode, beside that of random actions; the report shows it by seed."""

    metric = "return"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure "random_return" and, where actions are continuous, "zero_return", on the test split."""
        return trivial_evaluators(run.parts.data.build, split)


def trivial_evaluators(make: Callable[[], Any], split: str) -> list[Evaluator]:
    """Measure the returns of policies that learn nothing, on the test split.

    Args:
      make: builds the environment.
      split: "valid" or "test".
    """

    def measure(acc):
        return trivial_returns(make())

    names = ("random_return", "zero_return")
    return [Evaluator(lambda acc, outputs, rows: True, measure, None, names)] if split == "test" else []


def return_panels(context: ReportContext, episode: Sequence[Panel] = ()) -> list[Panel]:
    """Show returns by seed, an episode, and all curves over the environment steps of one seed.

    Args:
      episode: panels of an episode.
    """
    from dlcore.report.curves import curves

    joined, seeds = split_by_seed(context.history)
    steps = environment_steps(context.flags)
    taken = context.flags.batch_size * steps
    joined, seeds = ([{**row, STEPS: row["step"] * taken} for row in rows] for rows in (joined, seeds))
    for row in joined:
        if rate := row.pop("examples_per_second", None):
            row["environment_steps_per_second"] = rate * steps
    returns = [{k: row.get(k) for k in (STEPS, "split", "return")} for row in seeds]
    title = "Return of finished episodes, by seed"
    by_seed = [curves(returns, STEPS, title)._replace(half=True)] if seeds else []
    return [*by_seed, *episode, curves(joined, STEPS)]
