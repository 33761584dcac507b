"""Time PPO: environment steps a second that it learns from, against stable-baselines3 on the same machine.

python -m experiments.bench.rl
python -m experiments.bench.rl --num_seeds=5 --num_repeats=7

stable-baselines3 is timed where it is installed (`python -m pip install stable-baselines3`).

Both train on CartPole with the same sizes: 32 environments, rollouts of 64 steps, 4 epochs of 4 minibatches, two layers
of 64. stable-baselines3 runs with one torch thread, its fastest setting for so small a network. Ours runs with one
seed, and with the seeds that the experiment trains side by side, whose steps all count. They take turns, so that a busy
machine slows both. Breakout of MinAtar with a small convolutional network is timed as well, without a comparison. The
claim is at least 20x the speed of stable-baselines3.
"""

from collections.abc import Callable
from importlib.util import find_spec

import jax

from dlcore.data.source import Source
from dlcore.experiment import Headline, Study, StudyResult
from dlcore.main import main
from dlcore.optim import create_optimizer
from dlcore.rl import environments, networks, ppo
from dlcore.run import provenance
from dlcore.run.seeds import over_seeds
from experiments.bench.timing import bar_chart, interleaved

NUM_ENVIRONMENTS, NUM_STEPS, NUM_EPOCHS, NUM_MINIBATCHES = 32, 64, 4, 4
LEAST = 20
"""The claimed ratio of speeds."""


def our_update(name: str, num_seeds: int) -> Callable[[], jax.Array]:
    """A function that updates dlcore's PPO once."""
    environment = environments.make(name)
    learner = ppo.learner(
        model=networks.actor_critic(environment, 64),
        environment=environment,
        optimizer=create_optimizer("adam", 3e-4, clip_norm=0.5),
        num_steps=NUM_STEPS,
        num_epochs=NUM_EPOCHS,
        num_minibatches=NUM_MINIBATCHES,
    )
    learner = over_seeds(learner, num_seeds)
    batch = Source.indices(NUM_ENVIRONMENTS)[list(range(NUM_ENVIRONMENTS))]
    state = [jax.jit(learner.init)(jax.random.key(0), batch)]
    update = jax.jit(learner.update, donate_argnums=0)

    def run() -> jax.Array:
        state[0], _ = update(state[0], batch)
        return state[0].step

    return run


def stable_baselines3_update() -> Callable[[], None]:
    """A function that updates PPO of stable-baselines3 once."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", NUM_ENVIRONMENTS, seed=0),
        n_steps=NUM_STEPS,
        n_epochs=NUM_EPOCHS,
        batch_size=NUM_ENVIRONMENTS * NUM_STEPS // NUM_MINIBATCHES,
        device="cpu",
    )
    return lambda: model.learn(NUM_ENVIRONMENTS * NUM_STEPS, reset_num_timesteps=False) and None


def measure(
    *, num_seeds: int = 5, breakout: bool = True, seconds_per_turn: float = 2.0, num_repeats: int = 7
) -> StudyResult:
    """Time updates of both libraries.

    Args:
      num_seeds: seeds that dlcore trains side by side.
      breakout: time Breakout of MinAtar too.
      seconds_per_turn: updates are repeated until a turn lasts so long; 0 takes one update a turn.
      num_repeats: turns of each, shuffled.
    """
    seeds = {"dlcore, 1 seed": 1, f"dlcore, {num_seeds} seeds": num_seeds}
    updates = {name: our_update("CartPole-v1", count) for name, count in seeds.items()}
    if breakout:
        updates["dlcore, Breakout-MinAtar"] = our_update("Breakout-MinAtar", 1)
    if find_spec("stable_baselines3") is not None:
        updates["stable-baselines3"] = stable_baselines3_update()
    times = interleaved(updates, num_repeats, least_seconds=seconds_per_turn)
    steps = NUM_ENVIRONMENTS * NUM_STEPS
    rates = {name: seeds.get(name, 1) * steps / seconds.median for name, seconds in times.items()}
    numbers = {f"{name}: steps/s": rate for name, rate in rates.items()}
    sentences, holds = [f"{name} {rate:,.0f} steps/s" for name, rate in rates.items()], None
    if "stable-baselines3" in rates:
        ratio = max(rates[name] for name in seeds) / rates["stable-baselines3"]
        numbers["dlcore over stable-baselines3"], holds = ratio, ratio >= LEAST
        sentences.append(
            f"PPO on CartPole runs at {ratio:.1f}x stable-baselines3's speed (the claim: {LEAST}x or more)"
        )
    chart = bar_chart({name: {"steps/s": rate} for name, rate in rates.items()}, "environment steps/s", reference=None)
    chart.axes[0].set_xscale("log")
    return StudyResult(
        numbers,
        f"{provenance.hardware()}: {'; '.join(sentences)}.",
        {"speed": chart},
        holds=holds,
        headline=Headline("environment steps/s, 1 seed", rates["dlcore, 1 seed"], "CartPole-v1", tolerance=0.5),
    )


experiment = Study(
    file=__file__,
    doc=__doc__,
    function=measure,
    smoke={"num_seeds": 2, "breakout": False, "seconds_per_turn": 0.0, "num_repeats": 1},
)

if __name__ == "__main__":
    main(experiment)
