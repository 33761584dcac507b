"""Compare fit with a bare loop: steps/s of both on the same learner and data, in one run.

python -m experiments.bench.fit_overhead

fit logs, shows progress, prefetches, and saves checkpoints at its default interval; the bare loop gathers a batch and
calls the jitted, donating update. They take turns in blocks, so that a busy machine slows both.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from dlcore.classification import supervised
from dlcore.data.image_classification import load
from dlcore.data.pipeline import Pipeline
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.models import create_model
from dlcore.optim import create_optimizer
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.run import Saving, fit

LEAST = 0.97
"""The share of the bare loop's speed that fit should reach."""


def learner_and_data(batch_size: int) -> tuple[Learner, Pipeline]:
    """A small residual network on digits."""
    splits = load("digits")
    model = create_model("resnet8_cifar", num_classes=len(splits.class_names))
    learner = supervised.learner(model=model, optimizer=create_optimizer("adamw", 1e-3))
    return learner, Pipeline(splits.train, batch_size)


class BareLoop:
    """A training loop without log and checkpoints; it waits for the device at the end only."""

    def __init__(self, learner: Learner, pipeline: Pipeline):
        self.pipeline = pipeline
        self.update = jax.jit(learner.update, donate_argnums=0)
        self.state = jax.jit(learner.init)(jax.random.key(0), pipeline.batch_at(0))
        self.step = 0
        self.run(5)

    def run(self, steps: int) -> float:
        """Seconds of `steps` training steps."""
        began = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.update(self.state, self.pipeline.batch_at(self.step))
            self.step += 1
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - began


class Turns:
    """A hook that lets the bare loop run for a block after every block of fit, and keeps the times of both."""

    def __init__(self, bare: BareLoop, block: int):
        self.bare, self.block = bare, block
        self.fit_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.began: float | None = None

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> None:
        jax.block_until_ready(state)
        if self.began is not None:
            self.fit_seconds.append(time.perf_counter() - self.began)
        self.bare_seconds.append(self.bare.run(self.block))
        self.began = time.perf_counter()


def measure(*, seconds: float = 150.0, block: PositiveInt = 50, batch_size: PositiveInt = 128) -> StudyResult:
    """Train by both loops in turns.

    Args:
      seconds: length of the run, both loops together; at least four blocks of each run whatever it is.
      block: steps a turn, and fit's log interval.
    """
    learner, pipeline = learner_and_data(batch_size)
    bare = BareLoop(learner, pipeline)
    blocks = max(4, int(seconds / bare.run(block) / 2))
    turns = Turns(bare, block)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            learner,
            pipeline,
            steps=(blocks + 1) * block,
            folder=Path(folder),
            log_every=block,
            hooks=[turns],
            saving=Saving(),
        )
    bare_seconds = turns.bare_seconds[: len(turns.fit_seconds)]
    total = sum(bare_seconds) / sum(turns.fit_seconds)
    pairs = [b / f for b, f in zip(bare_seconds, turns.fit_seconds, strict=True)]
    numbers = {
        "bare steps/s": block / statistics.median(bare_seconds),
        "fit steps/s": block / statistics.median(turns.fit_seconds),
        "fit's speed over the bare loop's, of totals": total,
        "fit's speed over the bare loop's, median of pairs": statistics.median(pairs),
        "seconds in fit": sum(turns.fit_seconds),
        "blocks": len(pairs),
        "share of time waiting for data": result.wait_fraction,
    }
    verdict = f"fit runs at {total:.3f}x the bare loop's speed (the claim: {LEAST}x or more)."
    headline = Headline("speed of fit over a bare loop", total, "synthetic", tolerance=0.1)
    figures = {"blocks": draw(bare_seconds, turns.fit_seconds, block)}
    return StudyResult(numbers, verdict, figures, total >= LEAST, headline)


def draw(bare_seconds: list[float], fit_seconds: list[float], block: int) -> Any:
    """Steps a second of both loops along the run."""
    figure, axes = new_figure((7, 3))
    for name, seconds, color in (("bare", bare_seconds, VERMILION), ("fit", fit_seconds, BLUE)):
        axes.plot([block / s for s in seconds], "o-", ms=3, color=color, label=name)
    axes.set(xlabel=f"block of {block} steps", ylabel="steps/s", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


experiment = Study(__file__, __doc__, measure, smoke={"seconds": 0.0, "block": 2, "batch_size": 16})

if __name__ == "__main__":
    main(experiment)
