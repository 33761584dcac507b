"""Does k-NN's time of prediction grow with its training set where a linear classifier's does not?

python -m experiments.studies.nearest_neighbor_time

Both classifiers get the same training sets: digits with pixel noise, as many as `--sizes` says. Prediction is timed by
compiled programs on 512 queries of k-NN and 32,768 of the linear classifier, and divided by their number. Training is
timed by `train` of each: k-NN checks the examples and stores them, the linear classifier takes `--epochs` passes over
them by minibatches. A time is the least of `--repeats` rounds of calls, each until its result is ready, over their
number, after one that compiles: processor time of all threads, which other programs on the machine hardly change. An
exponent is the slope of the logarithm of the time over that of the size.

The claim holds where on every seed k-NN's exponent of prediction is within 0.2 of 1 and the linear classifier's within
0.2 of 0, and where at every size k-NN trains in less time and predicts in more.

Measured over three seeds on two shared cores: it holds. The exponents of prediction are 1.0 for k-NN and about 0 for
the linear classifier; with 65,536 examples a query takes k-NN 198 µs and the linear classifier 0.04 µs, training 4.2
and 127 ms. k-NN's training grows too, since it checks every number.

References: Cover & Hart 1967, "Nearest neighbor pattern classification"; Hastie, Tibshirani & Friedman 2009, "The
Elements of Statistical Learning", section 13.5.
"""

import functools
import time
import timeit
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml import linear_training, nearest_neighbor
from dlcore.classic_ml.linear import Linear, scores
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, mean_and_range, new_figure
from experiments.studies.small_runs import shuffled_digits

ARMS = ("k-NN", "linear")
PHASES = ("prediction", "training")
NUM_QUERIES = {"k-NN": 512, "linear": 32768}
"""Queries of a call, so many that a call takes milliseconds."""
BATCH_SIZE = 128
ROUND = 0.05
"""Least seconds of a round of calls: the clock of all threads lags behind within one short call."""
TOLERANCE = 0.2
"""How far an exponent of prediction may be from 1 or 0."""


@jax.jit
def predict_neighbors(rows: jax.Array, label: jax.Array, queries: jax.Array) -> jax.Array:
    """Predict the labels [M] of the nearest of rows [N, D]."""
    return label[nearest_neighbor.search(rows, queries, k=1, metric="l2")[1][:, 0]]


@jax.jit
def predict_linear(parameters: Linear, classes: jax.Array, queries: jax.Array) -> jax.Array:
    """Predict the labels [M] with the largest scores."""
    return classes[scores(parameters, queries).argmax(1)]


def train(arm: str, images: np.ndarray, labels: np.ndarray, epochs: int) -> Any:
    """Train one of ARMS on images [N, D] and labels [N]."""
    if arm == "k-NN":
        return nearest_neighbor.train(images, labels)
    steps = max(1, epochs * len(images) // BATCH_SIZE)
    return linear_training.train(images, labels, steps=steps, batch_size=BATCH_SIZE, learning_rate=0.02)


def prediction(arm: str, model: Any, queries: np.ndarray) -> Callable[[], jax.Array]:
    """Move a model of `train` and queries [M, D] to the device: a function that predicts the labels [M] there."""
    if arm == "k-NN":
        inputs = model.rows, model.classes[model.label], queries
    else:
        inputs = model.parameters, model.classes, queries
    function, inputs = predict_neighbors if arm == "k-NN" else predict_linear, jax.tree.map(jnp.asarray, inputs)
    return lambda: function(*inputs)


def noisy_digits(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw digits with replacement, each with its own noise: rows [count, D] and labels [count]."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, len(images), count)
    rows = images.reshape(len(images), -1)[indices]
    return (rows + 0.3 * rng.normal(size=rows.shape)).astype(np.float32), labels[indices]


def least_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Take the least processor time of a call over rounds of calls, each of ROUND seconds; a first call compiles."""
    timer = timeit.Timer(lambda: jax.block_until_ready(function()), timer=time.process_time)
    number = 1
    timer.timeit(number)
    while timer.timeit(number) < ROUND:
        number *= 2
    return min(timer.repeat(repeats, number)) / number


def exponent(sizes: tuple[int, ...], seconds: np.ndarray) -> float:
    """Fit the slope of log(seconds [R]) over log(sizes)."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure(
    seed: int, sizes: tuple[int, ...], epochs: int, repeats: int
) -> tuple[dict[tuple[str, str], list[float]], dict[str, float]]:
    """Time both classifiers: ({(arm, phase): seconds of each size}, {arm: test accuracy at the last size}).

    Those of prediction are of one query.
    """
    data = shuffled_digits()
    tests = {
        arm: noisy_digits(data.test_images, data.test_labels, count, 1_000_000 + seed)
        for arm, count in NUM_QUERIES.items()
    }
    seconds, accuracy = {(arm, phase): [] for phase in PHASES for arm in ARMS}, {}
    for size in sizes:
        examples = noisy_digits(data.images, data.labels, size, seed)
        for arm in ARMS:
            fit = functools.partial(train, arm, *examples, epochs)
            queries, expected = tests[arm]
            predict = prediction(arm, fit(), queries)
            seconds[arm, "prediction"].append(least_seconds(predict, repeats) / len(queries))
            seconds[arm, "training"].append(least_seconds(lambda fit=fit: fit()[0], repeats))
            accuracy[arm] = float((np.asarray(predict()) == expected).mean())
    return seconds, accuracy


def report(
    sizes: tuple[int, ...], seconds: dict[tuple[str, str], np.ndarray], accuracy: dict[str, list[float]]
) -> StudyResult:
    """Judge {(arm, phase): seconds [seeds, R]} and the test accuracies {arm: one a seed}."""
    exponents = {key: np.array([exponent(sizes, row) for row in rows]) for key, rows in seconds.items()}
    grows = (np.abs(exponents["k-NN", "prediction"] - 1) <= TOLERANCE).all()
    stays = (np.abs(exponents["linear", "prediction"]) <= TOLERANCE).all()
    reversed_order = (seconds["k-NN", "prediction"] > seconds["linear", "prediction"]).all() and (
        seconds["k-NN", "training"] < seconds["linear", "training"]
    ).all()
    last = {key: rows[:, -1].mean() for key, rows in seconds.items()}
    units = {"prediction": ("µs a query", 1e6), "training": ("ms", 1e3)}
    parts = [
        f"{phase}: "
        + ", ".join(
            f"{arm} {exponents[arm, phase].mean():.2f} ({factor * last[arm, phase]:.3g} {unit})" for arm in ARMS
        )
        for phase, (unit, factor) in units.items()
    ]
    verdict = (
        f"Exponent of the time in the number of training examples (time at {sizes[-1]:,}); {'; '.join(parts)}. Test "
        "accuracy there: " + ", ".join(f"{arm} {np.mean(accuracy[arm]):.1%}" for arm in ARMS) + "."
    )
    figure, panels = new_figure((8.5, 3.2), 1, 2)
    for axes, phase in zip(panels, PHASES, strict=True):
        for arm, color in zip(ARMS, (BLUE, VERMILION), strict=True):
            rows = units[phase][1] * seconds[arm, phase]
            mean_and_range(axes, sizes, rows, color, f"{arm}, {exponents[arm, phase].mean():.2f}", "o-")
        axes.set(
            xscale="log",
            yscale="log",
            title=phase,
            xlabel="training examples",
            ylabel=f"processor time, {units[phase][0]}",
        )
        axes.set_xticks(sizes, [f"{size // 1024}k" if size >= 1024 else str(size) for size in sizes])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8, title="exponent")
    numbers: dict[str, Any] = {"training examples": list(sizes)}
    numbers |= {f"exponent of {phase}, {arm}": exponents[arm, phase].tolist() for arm, phase in seconds}
    numbers |= {
        f"{units[phase][0]}, {phase}, {arm}": (units[phase][1] * seconds[arm, phase].mean(0)).tolist()
        for arm, phase in seconds
    }
    numbers |= {f"test accuracy, {arm}": values for arm, values in accuracy.items()}
    growth = {arm: seconds[arm, "prediction"][:, -1] / seconds[arm, "prediction"][:, 0] for arm in ARMS}
    headline = Headline(
        f"growth of the linear classifier's time of prediction, {sizes[-1] / sizes[0]:g} times the examples",
        growth["linear"],
        "digits with noise",
        0.3,
        (float(growth["k-NN"].mean()), "k-NN", "lower"),
    )
    return StudyResult(numbers, verdict, {"times": figure}, bool(grows and stays and reversed_order), headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    sizes: tuple[PositiveInt, ...] = (4096, 8192, 16384, 32768, 65536),
    epochs: PositiveInt = 5,
    repeats: PositiveInt = 5,
) -> StudyResult:
    """Time training and prediction of both classifiers.

    Args:
      sizes: numbers of training examples, ascending, two or more.
      epochs: passes of the linear classifier over its examples.
      repeats: timed rounds of calls, of which the least counts.

    Raises:
      ValueError: `sizes` are not two or more ascending positive numbers.
    """
    if len(sizes) < 2 or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"sizes={sizes}: not a range; allowed: two or more positive numbers, ascending")
    rows = [measure(seed, sizes, epochs, repeats) for seed in range(num_seeds)]
    seconds = {key: np.array([row[key] for row, _ in rows]) for key in rows[0][0]}
    return report(sizes, seconds, {arm: [accuracy[arm] for _, accuracy in rows] for arm in ARMS})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "sizes": (256, 512), "epochs": 1, "repeats": 1})

if __name__ == "__main__":
    main(experiment)
