"""Time learners from rewards: environment steps a second that they learn from, against stable-baselines3.

python -m experiments.bench.rl                                 (PPO: 12.1x with one seed, 11.6x with five)
python -m experiments.bench.rl --algorithm=a2c                 (31.9x and 53.2x)
python -m experiments.bench.rl --algorithm=recurrent_ppo       (19.8x and 17.7x; 24.2x and 18.4x in another run)
python -m experiments.bench.rl --algorithm=sac                 (2.1x and 1.8x)
python -m experiments.bench.rl --algorithm=td3                 (1.5x and 1.2x)

stable-baselines3 is timed where it is installed (`python -m pip install stable-baselines3 sb3-contrib`; the second for
recurrent PPO).

Both train in the same environment with the same sizes: rollouts, passes, minibatches, replay, gradient steps an
environment step, and layers. stable-baselines3 runs with one torch thread, its fastest setting for so small a network.
Ours runs with one seed, and with the seeds that the experiment trains side by side, whose steps all count. They take
turns, so that a busy machine slows both. With PPO, Breakout of MinAtar with a small convolutional network is timed as
well, without a comparison. The claim is a speed with one seed of 12 times that of stable-baselines3 for PPO, 20 for A2C
and recurrent PPO, and 5 for SAC and TD3; for SAC also one of 10 times with several.

SAC and TD3 of width 256 cannot reach that on a processor: XLA counts 558 million operations an environment step, and a
core that multiplies matrices of this size at 71 GFLOP/s takes 128 such steps a second at best.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import jax

from dlcore.data.source import Source
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.optim import create_optimizer
from dlcore.rl import a2c, environments, networks, ppo, recurrent_ppo, sac, td3, wrappers
from dlcore.rl.off_policy import OffPolicy
from dlcore.rl.seeds import over_seeds
from dlcore.run import provenance
from experiments.bench.timing import advancing, bar_chart, interleaved


class Case(NamedTuple):
    """One algorithm in both libraries.

    Args:
      learner: ours.
      network: ours.
      fields: fields of our learner.
      environment: name of both.
      instances: number of instances of the environment.
      width: width of both networks' layers.
      steps: environment steps of one update.
      peer: (module, class, policy) of stable-baselines3.
      arguments: arguments of the peer.
      least: the claimed ratios of speeds, by one seed and by several; 0 claims nothing.
    """

    learner: Callable
    network: Callable
    fields: dict[str, Any]
    environment: str
    instances: int
    width: int
    steps: int
    peer: tuple[str, str, str]
    arguments: dict[str, Any]
    least: tuple[float, float]


ON_POLICY = {"gamma": 0.99, "ent_coef": 0.0, "vf_coef": 0.5}
OFF_POLICY = {"buffer_size": 20_000, "batch_size": 256, "learning_starts": 100, "learning_rate": 1e-3}
OURS_OFF = {"off_policy": OffPolicy(num_steps=100, buffer_size=20_000, minibatch_size=256, learning_starts=100)}

CASES = {
    "ppo": Case(
        ppo.learner,
        networks.actor_critic,
        {"num_steps": 64, "ppo": ppo.PPO(num_epochs=4, num_minibatches=4)},
        "CartPole-v1",
        32,
        64,
        32 * 64,
        ("stable_baselines3", "PPO", "MlpPolicy"),
        {"n_steps": 64, "n_epochs": 4, "batch_size": 32 * 64 // 4, **ON_POLICY},
        (12, 0),
    ),
    "a2c": Case(
        a2c.learner,
        networks.actor_critic,
        {"num_steps": 5, "num_rollouts": 20},
        "CartPole-v1",
        16,
        64,
        16 * 5 * 20,
        ("stable_baselines3", "A2C", "MlpPolicy"),
        {"n_steps": 5, **ON_POLICY},
        (20, 0),
    ),
    "recurrent_ppo": Case(
        recurrent_ppo.learner,
        networks.recurrent_actor_critic,
        {"num_steps": 64, "ppo": ppo.PPO(num_epochs=4, num_minibatches=4)},
        "CartPole-v1",
        16,
        64,
        16 * 64,
        ("sb3_contrib", "RecurrentPPO", "MlpLstmPolicy"),
        {"n_steps": 64, "n_epochs": 4, "batch_size": 16 * 64 // 4, **ON_POLICY},
        (20, 0),
    ),
    "sac": Case(
        sac.learner,
        networks.actor_twin_critic,
        OURS_OFF,
        "Pendulum-v1",
        1,
        256,
        100,
        ("stable_baselines3", "SAC", "MlpPolicy"),
        OFF_POLICY,
        (5, 10),
    ),
    "td3": Case(
        td3.learner,
        networks.actor_twin_critic,
        OURS_OFF,
        "Pendulum-v1",
        1,
        256,
        100,
        ("stable_baselines3", "TD3", "MlpPolicy"),
        OFF_POLICY,
        (5, 0),
    ),
}


def our_update(case: Case, num_seeds: int, name: str | None = None) -> Callable[[], Any]:
    """A function that updates dlcore's learner once."""
    environment = environments.make(name or case.environment)
    if case.learner is recurrent_ppo.learner:
        environment = wrappers.mask_velocities(environment)
    learner = case.learner(
        model=case.network(environment, case.width),
        environment=environment,
        optimizer=create_optimizer("adam", 3e-4, clip_norm=0.5),
        **case.fields,
    )
    learner = over_seeds(learner, num_seeds)
    batch = Source.indices(case.instances)[list(range(case.instances))]
    update = jax.jit(learner.update, donate_argnums=0)

    def step(state: Any) -> tuple[Any, jax.Array]:
        state, _ = update(state, batch)
        return state, state.step

    return advancing(step, jax.jit(learner.init)(jax.random.key(0), batch))


def peer_update(case: Case) -> Callable[[], None]:
    """A function that updates the learner of stable-baselines3 for as many environment steps as ours."""
    import importlib

    import gymnasium
    import numpy as np
    import torch
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    module, name, policy = case.peer
    wrapper = None
    if case.learner is recurrent_ppo.learner:
        positions = np.array(wrappers.POSITIONS[case.environment])

        def wrapper(env):
            space = gymnasium.spaces.Box(-np.inf, np.inf, (len(positions),))
            return gymnasium.wrappers.TransformObservation(env, lambda x: x[positions], space)

    layers: dict[str, Any] = {"net_arch": [case.width, case.width]}
    if "Lstm" in policy:
        layers = {"net_arch": [], "lstm_hidden_size": case.width, "shared_lstm": True, "enable_critic_lstm": False}
    model = getattr(importlib.import_module(module), name)(
        policy,
        make_vec_env(case.environment, case.instances, seed=0, wrapper_class=wrapper),
        device="cpu",
        policy_kwargs=layers,
        **case.arguments,
    )
    return lambda: model.learn(case.steps, reset_num_timesteps=False) and None


def measure(
    *,
    algorithm: Literal["ppo", "a2c", "recurrent_ppo", "sac", "td3"] = "ppo",
    num_seeds: PositiveInt = 5,
    breakout: bool = True,
    seconds_per_turn: float = 2.0,
    num_repeats: PositiveInt = 7,
) -> StudyResult:
    """Time updates of both libraries.

    Args:
      algorithm: algorithm that is timed.
      num_seeds: seeds that dlcore trains side by side.
      breakout: also time PPO on Breakout of MinAtar.
      seconds_per_turn: updates are repeated until a turn lasts so long; 0 takes one update a turn.
    """
    case = CASES[algorithm]
    seeds = {"dlcore, 1 seed": 1, f"dlcore, {num_seeds} seeds": num_seeds}
    updates = {name: our_update(case, count) for name, count in seeds.items()}
    if breakout and algorithm == "ppo":
        updates["dlcore, Breakout-MinAtar"] = our_update(case, 1, "Breakout-MinAtar")
    if find_spec(case.peer[0]) is not None:
        updates["stable-baselines3"] = peer_update(case)
    times = interleaved(updates, num_repeats, least_seconds=seconds_per_turn)
    rates = {name: seeds.get(name, 1) * case.steps / seconds.median for name, seconds in times.items()}
    numbers = {f"{name}: steps/s": rate for name, rate in rates.items()}
    sentences, holds = [f"{name} {rate:,.0f} steps/s" for name, rate in rates.items()], None
    if "stable-baselines3" in rates:
        ratios = [rates[name] / rates["stable-baselines3"] for name in seeds]
        numbers |= {f"{name} over stable-baselines3": ratio for name, ratio in zip(seeds, ratios, strict=True)}
        holds = all(ratio >= least for ratio, least in zip(ratios, case.least, strict=True))
        sentences.append(
            f"{algorithm} in {case.environment} runs at {ratios[0]:.1f}x stable-baselines3's speed with one seed, and "
            f"at {ratios[1]:.1f}x with {num_seeds} (the claim: {case.least[0]}x"
            f"{f' and {case.least[1]}x' if case.least[1] else ''} or more)"
        )
    bars = {name: {"steps/s": rate} for name, rate in rates.items()}
    chart = bar_chart(bars, "environment steps/s", reference=None, log=True)
    headline = Headline("environment steps/s, 1 seed", rates["dlcore, 1 seed"], case.environment, tolerance=0.5)
    return StudyResult(numbers, f"{provenance.hardware()}: {'; '.join(sentences)}.", {"speed": chart}, holds, headline)


experiment = Study(
    __file__, __doc__, measure, smoke={"num_seeds": 2, "breakout": False, "seconds_per_turn": 0.0, "num_repeats": 1}
)

if __name__ == "__main__":
    main(experiment)
