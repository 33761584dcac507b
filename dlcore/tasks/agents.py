"""Agents: networks that act in environments, many seeds at once."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.learner import root_key
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.tasks.environments import return_panels

__all__ = ["Agent", "EpisodeReport", "film_episode"]

_MOST_FRAMES = 100


@dataclasses.dataclass(frozen=True)
class Agent:
    """A network that acts, built for the environment.

    Args:
      network: (environment, **fields) -> module
      module: its class, whose fields are the flags `--network.FIELD`
      fields: values of the fields
    """

    network: Callable[..., nn.Module]
    module: Callable[..., nn.Module]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"network": partial(self.module, **self.fields)}

    def with_flags(self, flags: Flags) -> "Agent":
        """Return the agent with the values of its flags in its fields."""
        return dataclasses.replace(self, fields=flags.group("network"))

    def build(self, environment: Any) -> nn.Module:
        """Build the network for the observations and actions of an environment.

        Args:
          environment: the environment.
        """
        return self.network(environment, **self.fields)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run.parts.data.build())}


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
