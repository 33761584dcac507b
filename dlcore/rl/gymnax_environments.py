"""Environments of gymnax, and how many seeds of them fit into memory."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.cost.host_memory import check_memory
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import Learner, Range, check_record
from dlcore.rl.seeds import over_seeds
from dlcore.setting import FlagError

__all__ = ["GymnaxEnvironments", "environment_of", "episode_splits"]

STEPS = "environment steps"


@dataclasses.dataclass(frozen=True)
class GymnaxEnvironments:
    """Environments of gymnax with wrappers: instances to train in, and episodes to measure, many seeds at once.

    Args:
      environment: a gymnax environment
      num_seeds: seeds trained side by side in one step
      eval_episodes: episodes of each evaluation
      time_limit: time limit of an episode in steps; 0: the environment's
      mask_velocities: leave velocities out of the observations
      stack_frames: frame stack: last observations that the agent sees
      repeat_actions: action repeat: steps that each action is taken for
      precision: compute precision; this experiment has no other
      whole_sequences: minibatches hold whole sequences of some instances
    """

    environment: Annotated[str, "essential"] = "CartPole-v1"
    num_seeds: Annotated[int, Range(1)] = 5
    eval_episodes: Annotated[int, Range(1)] = 20
    time_limit: Annotated[int, Range(0)] = 0
    mask_velocities: bool = False
    stack_frames: Annotated[int, Range(1)] = 1
    repeat_actions: Annotated[int, Range(1)] = 1
    precision: Literal["f32"] = "f32"
    whole_sequences: Annotated[bool, "no flag"] = False

    packages: ClassVar[tuple[str, ...]] = ("gymnax",)
    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def build(self) -> Any:
        """Build the environment with its wrappers.

        Returns:
          The Environment.
        """
        return environment_of(self)

    def load(self, seed: int = 0, batch_size: int = 128) -> Splits:
        """Build splits of indices: training environments, validation episodes, test episodes.

        Args:
          seed: not used; keys of episodes come from the run.
          batch_size: environments to train in.
        """
        return episode_splits(self.environment, batch_size, self.eval_episodes)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `environment`."""
        return {"environment": self.build()}

    def check(self, run: Any) -> None:
        """Check the environment, the minibatches of a rollout and the size of the replay buffer."""
        check_rollouts(self.build(), run.flags, self.whole_sequences)

    def wrap(self, learner: Learner, run: Any) -> Learner:
        """Map the learner over the seeds."""
        return over_seeds(learner, self.num_seeds)


def episode_splits(environment: str, instances: int, episodes: int) -> Splits:
    """Build splits of indices.

    Args:
      environment: name of the environment.
      instances: environments to train in.
      episodes: validation episodes, and as many test episodes.
    """
    valid, test = (
        Source({"episode": np.arange(first, first + episodes, dtype=np.int32)}, name=f"{name} episodes")
        for name, first in (("validation", 0), ("test", episodes))
    )
    spec = {"dataset": environment, "counts": "episodes"}
    return Splits(Source.indices(instances, "environments"), valid, test, spec)


def check_rollouts(environment: Any, flags: Any, whole_sequences: bool = False) -> None:
    """Check the minibatches of a rollout and the size of the replay buffer.

    Args:
      environment: the environment.
      flags: resolved settings of the technique.
      whole_sequences: minibatches hold whole sequences of some instances.
    """
    instances, minibatches = flags.batch_size, flags.get("num_minibatches", 1)
    steps = instances if whole_sequences else instances * flags.get("num_steps", 1)
    if steps % minibatches:
        kind = "instances" if whole_sequences else "steps of a rollout"
        raise FlagError(
            f"--num_minibatches={minibatches}: not a divisor of the {steps} {kind}; allowed: divisors of {steps}"
        )
    # PPO normalizes advantages in each minibatch, and one alone becomes 0.
    if "num_minibatches" in flags and instances * flags.num_steps < 2 * minibatches:
        most = instances * flags.num_steps // 2
        raise FlagError(
            f"--num_minibatches={minibatches}: minibatches of one step; allowed: at most {most}, of 2 steps"
        )
    size, minibatch = flags.get("buffer_size"), flags.get("minibatch_size", 1)
    if size is None:
        return
    if instances * size < minibatch:
        raise FlagError(
            f"--buffer_size={size}: {instances * size} steps of {instances} instances; allowed: at least "
            f"{-(-minibatch // instances)}, for --minibatch_size={minibatch}"
        )
    taken = environment_steps(flags) * flags.steps if flags.steps else math.inf
    if flags.get("learning_starts", 0) >= taken:
        raise FlagError(
            f"--learning_starts={flags.learning_starts}: each instance takes {taken} steps, so that no gradient "
            f"step follows; allowed: below {taken}, or more --steps"
        )
    # At least two observations of one byte per value, an action, a reward and a flag.
    step = 2 * math.prod(environment.observation_shape) + 9
    try:
        check_memory("buffer_size", size, flags.num_seeds * instances * step)
    except ValueError as error:
        raise FlagError(f"--{error}") from None


def environment_of(flags: Any) -> Any:
    """Build the environment with its wrappers.

    Args:
      flags: `GymnaxEnvironments`, or flags of the same names.

    Returns:
      The Environment.

    Raises:
      FlagError: a flag does not suit the environment.
    """
    from dlcore.rl import environments, wrappers

    changes = (
        ("mask_velocities", wrappers.mask_velocities, flags.mask_velocities, ()),
        ("time_limit", wrappers.time_limit, flags.time_limit > 0, (flags.time_limit,)),
        ("repeat_actions", wrappers.repeat_actions, flags.repeat_actions > 1, (flags.repeat_actions,)),
        ("stack_frames", wrappers.stack_frames, flags.stack_frames > 1, (flags.stack_frames,)),
    )
    environment = environments.make(flags.environment)
    for name, wrapper, is_on, arguments in changes:
        if is_on:
            try:
                environment = wrapper(environment, *arguments)
            except ValueError as error:
                raise FlagError(f"--{name}: {error}") from None
    return environment


def environment_steps(flags: Any) -> int:
    """Count the steps that each instance takes in one update."""
    return flags.num_steps * flags.get("num_rollouts", 1)
