"""Environment steps a second that PPO learns from, beside stable-baselines3 on the same machine.

python -m pip install stable-baselines3 && python -m experiments.bench.rl

Both train on CartPole with the same sizes: 32 environments, rollouts of 64 steps, 4 epochs of 4 minibatches, two layers
of 64. stable-baselines3 runs with one torch thread, its fastest setting for so small a network. Ours runs with one
seed, and with the five seeds of the experiment side by side, all of whose steps count. They take turns, so that a busy
machine slows both. Breakout of MinAtar with a small convolutional network is timed too, without a counterpart.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import jax

from dlcore.data.source import Source
from dlcore.optim import create_optimizer
from dlcore.rl import environments, networks, ppo
from dlcore.run.seeds import over_seeds

NUM_ENVS, NUM_STEPS, NUM_EPOCHS, NUM_MINIBATCHES = 32, 64, 4, 4


class Ours:
    """PPO of dlcore; `run` returns the environment steps a second of `updates` updates."""

    def __init__(self, name: str, seeds: int):
        environment = environments.make(name)
        learner = ppo.learner(
            model=networks.ActorCritic(environment.num_actions, 64),
            environment=environment,
            optimizer=create_optimizer("adam", 3e-4, clip_norm=0.5),
            num_steps=NUM_STEPS,
            num_epochs=NUM_EPOCHS,
            num_minibatches=NUM_MINIBATCHES,
        )
        learner = over_seeds(learner, seeds)
        self.batch = Source.indices(NUM_ENVS)[list(range(NUM_ENVS))]
        self.state = jax.jit(learner.init)(jax.random.key(0), self.batch)
        self.update = jax.jit(learner.update, donate_argnums=0)
        self.steps = seeds * NUM_ENVS * NUM_STEPS
        self.run(2)

    def run(self, updates: int) -> float:
        began = time.perf_counter()
        for _ in range(updates):
            self.state, _ = self.update(self.state, self.batch)
        jax.block_until_ready(self.state)
        return updates * self.steps / (time.perf_counter() - began)


class Theirs:
    """PPO of stable-baselines3."""

    def __init__(self):
        try:
            import torch
            from stable_baselines3 import PPO
            from stable_baselines3.common.env_util import make_vec_env
        except ImportError as error:
            raise SystemExit("stable-baselines3 is not installed: python -m pip install stable-baselines3") from error
        torch.set_num_threads(1)
        self.model = PPO(
            "MlpPolicy",
            make_vec_env("CartPole-v1", NUM_ENVS, seed=0),
            n_steps=NUM_STEPS,
            n_epochs=NUM_EPOCHS,
            batch_size=NUM_ENVS * NUM_STEPS // NUM_MINIBATCHES,
            device="cpu",
        )
        self.run(1)

    def run(self, updates: int) -> float:
        began = time.perf_counter()
        self.model.learn(updates * NUM_ENVS * NUM_STEPS, reset_num_timesteps=False)
        return updates * NUM_ENVS * NUM_STEPS / (time.perf_counter() - began)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=7, help="turns of each")
    parser.add_argument("--json", default=None, help="a file for the numbers")
    options = parser.parse_args(argv)
    theirs = Theirs()
    runners = {
        "stable-baselines3": (theirs, 10),
        "dlcore, one seed": (Ours("CartPole-v1", 1), 50),
        "dlcore, five seeds": (Ours("CartPole-v1", 5), 20),
        "dlcore, Breakout-MinAtar": (Ours("Breakout-MinAtar", 1), 5),
    }
    rates = {name: [] for name in runners}
    for _ in range(options.blocks):
        for name, (runner, updates) in runners.items():
            rates[name].append(runner.run(updates))
    median = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:26} {median[name]:>11,.0f} steps/s   ({min(values):,.0f} to {max(values):,.0f})")
    best = max(median["dlcore, one seed"], median["dlcore, five seeds"])
    ratio = best / median["stable-baselines3"]
    print(f"PPO on CartPole: {ratio:.1f}x stable-baselines3 (aim: 20 or more)")
    if options.json:
        Path(options.json).write_text(json.dumps({"median": median, "ratio": ratio}, indent=1) + "\n")
    return int(ratio < 20)


if __name__ == "__main__":
    sys.exit(main())
