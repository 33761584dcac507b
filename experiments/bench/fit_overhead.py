"""What fit costs beside a bare loop: steps/s of both on the same learner and data, in one run.

python -m experiments.bench.loop

fit logs, shows progress, prefetches, and saves checkpoints at its default interval; the bare loop gathers a batch and
calls the jitted, donating update. They take turns in blocks, so that a busy machine slows both.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax

from dlcore.classification import supervised
from dlcore.data.image_classification import load
from dlcore.data.pipeline import Pipeline
from dlcore.models import create_model
from dlcore.optim import create_optimizer
from dlcore.run import Saving, fit


def build():
    splits = load("digits")
    model = create_model("resnet8_cifar", num_classes=len(splits.class_names))
    learner = supervised.learner(model=model, optimizer=create_optimizer("adamw", 1e-3))
    return learner, Pipeline(splits.train, 128)


class Bare:
    """The loop that one writes by hand: no log, no checkpoint, the loss fetched at the end."""

    def __init__(self, learner, pipeline):
        self.pipeline = pipeline
        self.update = jax.jit(learner.update, donate_argnums=0)
        self.state = jax.jit(learner.init)(jax.random.key(0), pipeline.batch_at(0))
        self.step = 0
        self.run(5)

    def run(self, steps: int) -> float:
        """Seconds for so many steps."""
        began = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.update(self.state, self.pipeline.batch_at(self.step))
            self.step += 1
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - began


class Clock:
    """Turns between fit and the bare loop: as a hook it lets the bare loop run, and keeps both times."""

    def __init__(self, bare: Bare, block: int):
        self.bare, self.block = bare, block
        self.fit_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.mark = None

    def __call__(self, step, state, metrics):
        jax.block_until_ready(state)
        now = time.perf_counter()
        if self.mark is not None:
            self.fit_seconds.append(now - self.mark)
        self.bare_seconds.append(self.bare.run(self.block))
        self.mark = time.perf_counter()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0, help="length of the run, both loops together")
    parser.add_argument("--block", type=int, default=50, help="steps a turn; fit's log interval")
    parser.add_argument("--json", default=None, help="a file for the numbers")
    options = parser.parse_args(argv)
    learner, pipeline = build()
    bare = Bare(learner, pipeline)
    rate = options.block / bare.run(options.block)
    blocks = max(4, int(options.seconds * rate / options.block / 2))
    clock = Clock(bare, options.block)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            learner, pipeline, steps=(blocks + 1) * options.block, folder=Path(folder), log_every=options.block,
            hooks=[clock], saving=Saving(),
        )  # fmt: skip
    ratios = [b / f for b, f in zip(clock.bare_seconds, clock.fit_seconds, strict=False)]
    total = sum(clock.bare_seconds[: len(clock.fit_seconds)]) / sum(clock.fit_seconds)
    numbers = {
        "bare_steps_per_second": options.block / statistics.median(clock.bare_seconds),
        "fit_steps_per_second": options.block / statistics.median(clock.fit_seconds),
        "ratio_of_totals": total,
        "median_ratio": statistics.median(ratios),
        "fit_seconds": sum(clock.fit_seconds),
        "blocks": len(ratios),
        "waiting_for_data": result.wait_fraction,
    }
    for name, value in numbers.items():
        print(f"{name:24} {value:.4g}")
    print(f"fit runs at {total:.3f} of the bare loop's speed (aim: 0.97 or more)")
    if options.json:
        Path(options.json).write_text(json.dumps(numbers, indent=1) + "\n")
    return int(total < 0.97)


if __name__ == "__main__":
    sys.exit(main())
