"""Demonstrations: recorded episodes of an expert, of an earlier run or of one that is trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.learner import Range, root_key
from dlcore.rl import demonstrations as demos
from dlcore.rl import networks
from dlcore.rl.baseline_policies import trivial_returns
from dlcore.rl.gymnax_environments import GymnaxEnvironments, environment_of
from dlcore.setting import Setting, field_settings
from dlcore.weights import earlier_run

__all__ = ["NUM_RECORDED", "Demonstrations", "greedy", "record_expert"]

NUM_RECORDED = 16
"""Number of episodes that an expert records."""


_SAME = ("environment", "time_limit", "mask_velocities", "stack_frames", "repeat_actions")
"""Environment flags that the default expert shares."""


@dataclasses.dataclass(frozen=True)
class Demonstrations(GymnaxEnvironments):
    """Steps of an expert's episodes to imitate; validation and test are episodes of its environment.

    Args:
      demonstrations: a file of recorded episodes; by default the expert's
      expert: the folder of a run of rl.ppo, whose episodes are recorded; by default one is trained
      expert_steps: training steps of the default expert
      first_phase: page that trains the default expert
      num_demonstrations: episodes to imitate
      every: a learner sees every k-th step of an episode
      adversarial: train on `demonstrations`, which also have `absorbing`, and in the `environments`
    """

    demonstrations: Annotated[str | None, "essential"] = None
    expert: str | None = None
    expert_steps: Annotated[int, Range(1)] = 200
    num_demonstrations: Annotated[int, Range(1, NUM_RECORDED), "essential"] = 4
    every: Annotated[int, Range(1)] = 1
    adversarial: Annotated[bool, "no flag"] = False
    first_phase: Experiment | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag `--expert`, with the run that it names."""
        expert = field_settings(self)["expert"]
        return {"expert": expert._replace(origin=lambda flags: earlier_run.origin(flags, "expert", "rl.ppo"))}

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Select the steps to imitate; the spec has the expert's and the random policy's mean return."""
        environment, flags = self.build(), run.flags
        recorded = record_expert(flags, self.first_phase)
        count = min(self.num_demonstrations, len(recorded.length)) if flags.smoke else self.num_demonstrations
        pairs = demos.select(recorded.first(count), self.every, run.seed, self.adversarial)
        spec = {**splits.spec, "expert_return": recorded.mean_return, **trivial_returns(environment)}
        message = f"{len(pairs['action'])} steps of {count} episodes; the expert's return is {recorded.mean_return:.1f}"
        train: Any = Source(pairs, name="demonstrations")
        if self.adversarial:
            train = {"demonstrations": train, "environments": splits.train}
        return splits._replace(train=train, spec=spec, notes=(message,))


def record_expert(flags: Flags, page: Experiment | None = None) -> demos.Demonstrations:
    """Load recorded episodes, or record an expert's and save them in its folder.

    The expert takes its most probable action; of several seeds the one with the largest mean return is used.

    Args:
      flags: resolved settings, with those of `Demonstrations`. A smoke run without an expert uses an untrained network.
      page: page that trains the expert where no flag names one.
    """
    environment = environment_of(flags)
    path = flags.demonstrations
    keys = jax.random.split(root_key(0), NUM_RECORDED)
    if path is None and flags.expert is None and flags.smoke:
        _, observation = environment.reset(root_key(0))
        model = networks.actor_critic(environment)
        params = model.init(root_key(0), observation[None])["params"]
        return demos.record(environment, greedy(model, params), keys[:4])
    if path is None:
        words = [f"--{name}={flags.get(name)}" for name in _SAME]
        words += ["--num_seeds=1", *([] if flags.smoke else [f"--steps={flags.expert_steps}"])]
        path = earlier_run.find_or_train(flags, "expert", page, words) / "demonstrations.npz"
        if not path.exists():
            demos.save(path, _recorded(path.parent, keys))
    demonstrations = demos.load(path)
    demos.check(demonstrations, environment)
    return demonstrations


def _recorded(folder: Path, keys: jax.Array) -> demos.Demonstrations:
    """Record episodes of the best seed of a run of rl.ppo."""
    phase = earlier_run.load(folder)
    if phase.flags.normalize_observation:
        allowed = "a run without --normalize_observation"
        raise ValueError(f"expert={str(folder)!r}: the expert sees normalized observations; allowed: {allowed}")
    environment, seeds = environment_of(phase.flags), phase.flags.num_seeds
    model = networks.actor_critic(environment, **phase.flags.group("network"))
    params = [jax.tree.map(lambda x, k=k: x[k] if seeds > 1 else x, phase.params) for k in range(seeds)]
    recorded = [demos.record(environment, greedy(model, seed_params), keys) for seed_params in params]
    return max(recorded, key=lambda episodes: episodes.mean_return)


def greedy(model: nn.Module, params: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Build the greedy policy of an actor-critic network.

    Args:
      model: `__call__(observations [B, ...]) -> (distribution over actions, values [B])`.
      params: parameters of the model.

    Returns:
      (key, observation) -> action.
    """
    return lambda key, observation: model.apply({"params": params}, observation[None])[0].mode()[0]
