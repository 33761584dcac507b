"""Imitation: agents that imitate the recorded episodes of an expert."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import Setting, field_settings
from dlcore.kits.rl.baseline_policies import trivial_returns
from dlcore.kits.training import earlier_run
from dlcore.learner import Evaluator, Range, root_key
from dlcore.optim import create_optimizer
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.rl import behavior_cloning, gail, networks
from dlcore.rl import demonstrations as demos
from dlcore.rl.environments import Environment
from dlcore.run.seeds import split_by_seed
from dlcore.tasks.agents import Agent
from dlcore.tasks.environments import AnnealedAdam, GymnaxEnvironments, environment_of

__all__ = [
    "NUM_RECORDED",
    "AdversarialAdam",
    "AgentAndDiscriminator",
    "Demonstrations",
    "ReturnBesideExpert",
    "clone_return",
    "greedy",
    "record_expert",
    "seed_curves",
]

NUM_RECORDED = 16
"""Number of episodes that an expert records."""
_CLONE_STEPS = 1000
"""Gradient steps of behavior cloning, each on all selected steps."""
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


@dataclasses.dataclass(frozen=True)
class ReturnBesideExpert:
    """Return of an episode, beside those of the expert and of a random policy.

    Args:
      clone: also train behavior cloning on the same steps, and measure its return on the test episodes
    """

    clone: Annotated[bool, "no flag"] = False

    metric: ClassVar[str] = "return"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure "clone_return" on the test split; the spec has the other returns."""

        def measure(acc) -> dict[str, float]:
            demonstrations, episodes = splits.train["demonstrations"].arrays, splits.test[np.arange(len(splits.test))]
            steps = 2 if run.flags.smoke else _CLONE_STEPS
            clone_and_evaluate = clone_return(run.parts.data.build(), demonstrations, episodes, steps)
            return {"clone_return": float(jax.jit(clone_and_evaluate)(root_key(run.seed)))}

        evaluator = Evaluator(lambda acc, outputs, rows: True, measure, None, ("clone_return",))
        return [evaluator] if self.clone and split == "test" else []

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show returns side by side."""
        return [_comparison(context)]


@dataclasses.dataclass(frozen=True)
class AgentAndDiscriminator(Agent):
    """A network that acts, and one that tells its steps from an expert's.

    Args:
      discriminator: values of the fields of the discriminator
    """

    discriminator: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The modules by the prefixes of their flags."""
        return {**super().modules, "discriminator": partial(gail.Discriminator, **self.discriminator)}

    def with_flags(self, flags: Flags) -> "AgentAndDiscriminator":
        """Return both networks with the values of their flags in their fields."""
        fields, discriminator = flags.group("network"), flags.group("discriminator")
        return dataclasses.replace(self, fields=fields, discriminator=discriminator)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `model` and the `discriminator`."""
        return {**super().arguments(run), "discriminator": gail.Discriminator(**self.discriminator)}


@dataclasses.dataclass(frozen=True)
class AdversarialAdam(AnnealedAdam):
    """Adam of an agent, and another one of its discriminator.

    Args:
      discriminator_learning_rate: learning rate of the discriminator's Adam
    """

    discriminator_learning_rate: Annotated[float, Range(0)] = 1e-3

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique both optimizers."""
        optimizer = create_optimizer("adam", self.discriminator_learning_rate)
        return {**super().arguments(run), "discriminator_optimizer": optimizer}


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


def clone_return(
    environment: Environment, demonstrations: dict[str, np.ndarray], episodes: dict, steps: int
) -> Callable[[jax.Array], jax.Array]:
    """Build the function that clones an expert and measures the clone's return.

    Args:
      environment: environment to play in.
      demonstrations: steps from `dlcore.rl.demonstrations.select` with `absorbing`; absorbing steps are left out.
      episodes: batch of the episodes to evaluate on.
      steps: number of Adam steps, each on all of `demonstrations`.

    Returns:
      A function from a PRNG key to the mean return [].
    """
    check_whole_number("steps", steps, 1)
    is_step = ~demonstrations["absorbing"]
    pairs = {name: jnp.asarray(demonstrations[name][is_step]) for name in ("observation", "action")}
    pairs["index"] = jnp.arange(int(is_step.sum()))
    learner = behavior_cloning.learner(
        model=behavior_cloning.actor(environment), optimizer=create_optimizer("adam", 1e-3), environment=environment
    )

    def clone_and_evaluate(key):
        first = learner.init(key, pairs)
        state, _ = jax.lax.scan(lambda state, _: (learner.update(state, pairs)[0], None), first, None, steps)
        return learner.predict(state, episodes)["return"].mean()

    return clone_and_evaluate


def seed_curves(context: ReportContext) -> list[Panel]:
    """Show the curves of all seeds together."""
    from dlcore.report.curves import curves

    return [curves(split_by_seed(context.history)[0])]


def _comparison(context: ReportContext) -> Any:
    """Compare the return with those of the expert and of a random policy."""
    from dlcore.report.tables import table

    returns = np.asarray(context.outputs["return"])
    by_seed = returns.reshape(len(returns), -1).mean(0)
    rows = {"expert": context.spec["expert_return"], "this policy": float(by_seed.mean())}
    if "clone_return" in context.numbers:
        rows["behavior cloning of the same steps"] = context.numbers["clone_return"]
    rows["random policy"] = context.spec["random_return"]
    table_rows = [{"": name, "mean return": round(value, 1)} for name, value in rows.items()]
    if len(by_seed) > 1:
        table_rows[1]["by seed"] = ", ".join(f"{value:.1f}" for value in by_seed)
    count, interval = context.flags.num_demonstrations, context.flags.every
    steps = "all steps" if interval == 1 else f"one step in {interval}"
    return table(table_rows, "Returns", f"The expert showed {steps} of {count} episode{'s' if count > 1 else ''}.")
