"""Shared by reinforcement learning experiments: environments as data, the learner, returns in the report."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.settings import ONLY_F32
from dlcore.experiment.splits import Splits
from dlcore.kits.rl.baseline_policies import trivial_returns
from dlcore.learner import Evaluator, Learner, Range, root_key
from dlcore.modes.report_context import ReportContext
from dlcore.run.memory import check_memory
from dlcore.run.seeds import over_seeds, split_by_seed

__all__ = [
    "FIELDS",
    "PENDULUM",
    "SETTINGS",
    "SMOKE",
    "actor_twin_critic_fields",
    "build",
    "check",
    "data",
    "environment_of",
    "panels",
    "schedule",
    "steps_of",
    "trivial_evaluators",
]

SETTINGS = {
    "environment": Setting("CartPole-v1", "a gymnax environment", essential=True),
    "time_limit": Setting(0, "time limit of an episode in steps; 0: the environment's", limits=Range(0)),
    "mask_velocities": Setting(False, "leave velocities out of the observations"),
    "stack_frames": Setting(1, "frame stack: last observations that the agent sees", limits=Range(1)),
    "repeat_actions": Setting(1, "action repeat: steps that each action is taken for", limits=Range(1)),
    "num_seeds": Setting(5, "seeds trained side by side in one step", limits=Range(1)),
    "eval_episodes": Setting(20, "episodes of each evaluation", limits=Range(1)),
    "learning_rate": Setting(2.5e-3, "initial learning rate of Adam", limits=Range(0), essential=True),
    "lr_schedule": Setting("linear", "learning-rate schedule; linear falls to 0", Literal["linear", "constant"]),
    "max_grad_norm": Setting(0.5, "gradient clipping: largest global norm", limits=Range(1e-12)),
    **ONLY_F32,
}
SMOKE = {"steps": 2, "batch_size": 8, "num_steps": 4, "num_seeds": 3, "eval_every": 2}
"""Three seeds: XLA's CPU runtime (jaxlib 0.10.2) hangs in the initialization of two on a machine of two cores."""

STEPS = "environment steps"
_MOST_FRAMES = 100


def data(flags: Flags) -> Splits:
    """Build splits of indices: training environments, validation episodes, test episodes.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      Splits of indices.
    """
    count = flags.eval_episodes
    valid, test = (
        Source({"episode": np.arange(first, first + count, dtype=np.int32)}, name=f"{name} episodes")
        for name, first in (("validation", 0), ("test", count))
    )
    return Splits(
        Source.indices(flags.batch_size, "environments"),
        valid,
        test,
        {"dataset": flags.environment, "counts": "episodes"},
    )


def environment_of(flags: Flags) -> Any:
    """Build the environment with the wrappers of the flags.

    Args:
      flags: resolved settings; must contain SETTINGS.

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


def check(flags: Flags, whole_sequences: bool = False) -> None:
    """Check the environment, that minibatches divide a rollout and hold two steps, and the size of the replay buffer.

    Args:
      flags: resolved settings; must contain SETTINGS and the learner's.
      whole_sequences: minibatches hold whole sequences of some instances.

    Raises:
      FlagError: a check fails.
    """
    environment = environment_of(flags)
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
    taken = steps_of(flags) * flags.steps if flags.steps else math.inf
    if flags.get("learning_starts", 0) >= taken:
        raise FlagError(
            f"--learning_starts={flags.learning_starts}: each instance takes {taken} steps, so that no gradient step "
            f"follows; allowed: below {taken}, or more --steps"
        )
    # At least two observations of one byte per value, an action, a reward and a flag.
    step = 2 * math.prod(environment.observation_shape) + 9
    try:
        check_memory("buffer_size", size, flags.num_seeds * instances * step)
    except ValueError as error:
        raise FlagError(f"--{error}") from None


def build(setup: Setup, learner: Callable[..., Learner], network: Callable, updates: int) -> Learner:
    """Build a learner that trains one network by Adam, mapped over the seeds.

    Args:
      setup: facts of the run; its flags must contain SETTINGS, the learner's, and `--network.FIELD`.
      learner: the technique's factory.
      network: (environment, **fields) -> module.
      updates: gradient steps of the run.

    Returns:
      The learner over `--num_seeds` seeds.
    """
    from dlcore.optim import create_optimizer, create_schedule

    flags = setup.flags
    environment = environment_of(flags)
    schedule = create_schedule(flags.lr_schedule, flags.learning_rate, updates)
    single = learner(
        model=network(environment, **flags.group("network")),
        optimizer=create_optimizer("adam", schedule, clip_norm=flags.max_grad_norm),
        environment=environment,
        **flags.group("learner"),
    )
    return over_seeds(single, flags.num_seeds)


def trivial_evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Build the evaluator of untrained baseline policies, on the test split.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.
      splits: not used.
      split: "valid" or "test".

    Returns:
      An evaluator of "random_return" and, where actions are continuous, "zero_return"; none for other splits.
    """
    if split != "test":
        return []

    def measure(acc):
        return trivial_returns(environment_of(setup.flags))

    return [Evaluator(lambda acc, outputs, rows: True, measure, None, ("random_return", "zero_return"))]


def steps_of(flags: Flags) -> int:
    """Count the steps that each instance takes in one update.

    Args:
      flags: resolved settings of the run.

    Returns:
      The number.
    """
    return flags.num_steps * flags.get("num_rollouts", 1)


def panels(context: ReportContext, network: Callable | None = None) -> list:
    """Show a film of an episode, returns by seed, and all curves over the environment steps of one seed.

    Args:
      context: the run's ReportContext.
      network: (environment, **fields) -> module, as for `build`; None shows no episode.

    Returns:
      The panels.
    """
    from dlcore.report.curves import curves

    joined, seeds = split_by_seed(context.history)
    steps = steps_of(context.flags)
    taken = context.flags.batch_size * steps
    joined, seeds = ([{**row, STEPS: row["step"] * taken} for row in rows] for rows in (joined, seeds))
    for row in joined:
        if rate := row.pop("examples_per_second", None):
            row["environment_steps_per_second"] = rate * steps
    returns = [{k: row.get(k) for k in (STEPS, "split", "return")} for row in seeds]
    title = "Return of finished episodes, by seed"
    by_seed = [curves(returns, STEPS, title)._replace(half=True)] if seeds else []
    return [*by_seed, *([] if network is None else _episode(context, network)), curves(joined, STEPS)]


def _episode(context: ReportContext, network: Callable) -> list:
    """Film the first test episode of the best seed; no panel if the environment cannot be drawn."""
    from dlcore.report.environments import draw_environment
    from dlcore.report.film import film
    from dlcore.rl import environments

    flags, state = context.flags, context.state
    seed = 0
    if flags.num_seeds > 1:
        seed = int(np.asarray(context.outputs["return"]).mean(0).argmax())
        state = jax.tree.map(lambda x: x[seed], state.inner)
    environment = environment_of(flags)
    model = network(environment, **flags.group("network"))
    memory = model.memory(1) if hasattr(model, "memory") else None

    def policy(_, memory, observation):
        if hasattr(state, "normalizer"):
            observation = state.normalizer.normalize_obs(observation)
        inputs = (observation[None],) if memory is None else (memory, observation[None])
        outputs = model.apply({"params": state.params}, *inputs)
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
    frames = [
        draw_environment(flags.environment, jax.tree.map(lambda x, t=t: x[t], states), observations[t])
        for t in frame_steps
    ]
    if not frames or frames[0] is None:
        return []
    frames_of = "each step" if interval == 1 else f"one step in {interval}"
    caption = f"Seed {seed}, the most probable or most valued action; {length} steps, {frames_of} shown."
    return [film(frames, "An episode", caption, 40 * interval)]


def schedule(setup: Setup) -> Callable[[int], float]:
    """Build the learning-rate schedule.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.

    Returns:
      A function from the step, counted from 0, to the rate.
    """
    falls = setup.flags.lr_schedule == "linear"
    return lambda step: setup.flags.learning_rate * (1 - falls * step / setup.steps)


FIELDS = {
    "data": data,
    "settings": SETTINGS,
    "monitor": "return",
    "headline": "return",
    "schedule": schedule,
    "evaluators": trivial_evaluators,
    "check": check,
    "packages": ("gymnax",),
}
"""Fields of Experiment that are the same for every algorithm."""

PENDULUM = {
    "environment": "Pendulum-v1",
    "steps": 200,
    "batch_size": 4,
    "num_steps": 25,
    "gradient_steps": 4,
    "learning_rate": 1e-3,
    "lr_schedule": "constant",
    "max_grad_norm": 1e3,
    "reward_scale": 0.1,
    "eval_episodes": 100,
    "eval_every": 20,
    "select": "last",
}
"""Defaults of actors and twin critics on Pendulum: one gradient step per environment step."""


def actor_twin_critic_fields(learner: Callable[..., Learner]) -> dict[str, Any]:
    """Collect the fields of Experiment of an off-policy algorithm with an actor and two critics.

    Args:
      learner: the technique's factory.

    Returns:
      Keyword arguments of Experiment, `defaults` left out.
    """
    from dlcore.rl import networks

    def build_agent(setup: Setup) -> Learner:
        flags = setup.flags
        updates = setup.steps * flags.num_steps * flags.gradient_steps
        return build(setup, learner, networks.actor_twin_critic, updates)

    return {
        **FIELDS,
        "learner": learner,
        "build": build_agent,
        "modules": {"network": networks.ActorTwinCritic},
        "smoke": {**SMOKE, "buffer_size": 32, "minibatch_size": 16, "learning_starts": 2, "eval_episodes": 2},
        "panels": lambda context: panels(context, networks.actor_twin_critic),
    }
