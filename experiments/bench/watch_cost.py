"""Compare the time of `--watch` with that of a training step: statistics of every layer, measured in one run.

python -m experiments.bench.watch_cost
python -m experiments.bench.watch_cost --models=mlp --num_repeats=50

Each network takes training steps and computes the statistics in shuffled turns. Reported are the medians, the share of
the time that statistics every 100 steps take, and their compilation, once a run. On two CPU cores, batches of 128
digits:

                statistics / step    every 100 steps    compiles in
mlp                          1.90              1.90%          1.3 s
resnet8_cifar                2.29              2.29%          6.1 s
resnet20_cifar               2.22              2.22%          9.0 s
"""

import statistics
import time

import jax
import optax

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.diagnostics.monitor import snapshot
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.run import provenance
from experiments.bench.timing import Ratio, bar_chart, interleaved, ratio

EVERY = 100
"""Training steps between two statistics."""


def measure_model(name: str, batch_size: int, num_repeats: int) -> tuple[Ratio, dict[str, float]]:
    """(statistics over a step, seconds of both and of the compilation)."""
    learner = supervised.learner(model=create_model(name, num_classes=10), optimizer=optax.adam(1e-3))
    batch = batch_at(Pipeline(digits("train"), batch_size), 0)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    step = jax.jit(learner.update).lower(state, batch).compile()
    began = time.perf_counter()
    statistics = jax.jit(lambda state, batch: snapshot(learner, state, batch)).lower(state, batch).compile()
    compile_seconds = time.perf_counter() - began
    times = interleaved({"step": lambda: step(state, batch), "watch": lambda: statistics(state, batch)}, num_repeats)
    seconds = {f"seconds, {key}": value.median for key, value in times.items()}
    return ratio(times, "watch", "step"), {**seconds, "compile seconds": compile_seconds}


def measure(
    *,
    models: tuple[str, ...] = ("mlp", "resnet8_cifar", "resnet20_cifar"),
    batch_size: PositiveInt = 128,
    num_repeats: PositiveInt = 20,
) -> StudyResult:
    """Time steps and statistics of each model."""
    numbers, ratios, sentences = {}, {}, []
    for name in models:
        ratios[name], seconds = measure_model(name, batch_size, num_repeats)
        numbers |= ratios[name].rows(f"{name}: statistics over a step")
        numbers |= {f"{name}: {key}": value for key, value in seconds.items()}
        fraction = ratios[name].median / EVERY
        sentences.append(f"{name} {ratios[name].median:.2f}x a step, {fraction:.2%} of the time every {EVERY} steps")
    chart = bar_chart({name: {"watch": r.median} for name, r in ratios.items()}, "time of the statistics over a step's")
    headline = Headline(
        f"share of the time, every {EVERY} steps, mean",
        statistics.fmean(r.median for r in ratios.values()) / EVERY,
        "digits",
        tolerance=0.5,
    )
    figures = {"ratios": chart}
    return StudyResult(numbers, f"{provenance.hardware()}: {'; '.join(sentences)}.", figures, headline=headline)


experiment = Study(__file__, __doc__, measure, smoke={"models": ("mlp",), "batch_size": 16, "num_repeats": 2})

if __name__ == "__main__":
    main(experiment)
