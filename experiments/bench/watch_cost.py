"""What `--watch` costs: a look inside the network over a training step, in one run.

python -m experiments.bench.watch [--repeats=20]

Each network takes steps and looks in turn, shuffled; medians are printed, and the share of the time that a look every
100 steps takes. The compilation of the look, once a run, is printed beside it. On two CPU cores, batches of 128
digits:

                look / step    every 100 steps    compiles in
mlp                    1.90              1.90%          1.3 s
resnet8_cifar          2.29              2.29%          6.1 s
resnet20_cifar         2.22              2.22%          9.0 s
"""

import argparse
import statistics
import time

import jax
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.diagnostics.monitor import look
from dlcore.models import create_model

MODELS = ("mlp", "resnet8_cifar", "resnet20_cifar")


def measure(name: str, repeats: int) -> tuple[float, float, float]:
    """(seconds of a step, of a look, of the look's compilation)."""
    learner = supervised.learner(model=create_model(name, num_classes=10), optimizer=optax.adam(1e-3))
    batch = batch_at(Pipeline(digits("train"), 128), 0)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    step = jax.jit(learner.update).lower(state, batch).compile()
    began = time.perf_counter()
    inside = jax.jit(lambda state, batch: look(learner, state, batch)).lower(state, batch).compile()
    compiling = time.perf_counter() - began
    times: dict[str, list[float]] = {"step": [], "look": []}
    turns = np.random.default_rng(0).permutation(["step", "look"] * (repeats + 1))
    for turn in turns:
        began = time.perf_counter()
        jax.block_until_ready((step if turn == "step" else inside)(state, batch))
        times[turn].append(time.perf_counter() - began)
    return statistics.median(times["step"]), statistics.median(times["look"]), compiling


def main(argv: list[str] | None = None) -> None:
    """Print a line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="of each, shuffled")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error(f"--repeats={options.repeats} must be at least 1")
    print(f"{'':16}look / step    every 100 steps    compiles in")
    for name in MODELS:
        step, looking, compiling = measure(name, options.repeats)
        print(f"{name:16}{looking / step:11.2f}    {looking / step / 100:15.2%}    {compiling:9.1f} s")


if __name__ == "__main__":
    main()
