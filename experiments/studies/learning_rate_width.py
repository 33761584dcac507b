"""Do adaptive optimizers tolerate a wider range of learning rates than stochastic gradient descent?

python -m experiments.studies.learning_rate_width

A perceptron of two hidden layers is trained on digits by each optimizer at each learning rate of a grid by factors of
the square root of ten, from 1e-5 to 30. The width of an optimizer is the number of decades of learning rates, around
its best one and without a gap, whose test accuracy is at least 95 % of that of the best. The claim holds where on every
seed the narrowest of AdaGrad, RMSProp and Adam is wider than SGD and than SGD with momentum.

References: Kingma & Ba 2014, arXiv:1412.6980; Choi et al. 2019, arXiv:1910.05446.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, GREEN, PINK, VERMILION, new_figure
from experiments.studies.optimizer_race import OPTIMIZERS
from experiments.studies.small_runs import SmallNet, shuffled_digits, train

PLAIN, ADAPTIVE = ("SGD", "momentum"), ("AdaGrad", "RMSProp", "Adam")
SHARE = 0.95
"""Share of the best accuracy that a learning rate of the range reaches."""
DECADES = np.arange(-10, 4) / 2
"""Logarithms of the learning rates, to base 10."""


def width(accuracy: np.ndarray, decades: np.ndarray) -> float:
    """Measure the decades of good learning rates around the best one, 0 where the best is alone.

    Accuracies [R] that are not finite count as 0; `decades` [R] are the logarithms of the learning rates, ascending.
    """
    good = np.nan_to_num(accuracy) >= SHARE * np.nanmax(accuracy)
    first = last = int(np.nanargmax(accuracy))
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    return float(decades[last] - decades[first])


def accuracies(name: str, decades: np.ndarray, num_seeds: int, steps: int) -> np.ndarray:
    """Train at every learning rate, all runs of an optimizer in one program: test accuracies [seeds, R]."""
    data = shuffled_digits()
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)
    net = SmallNet((32, 32))

    def one(rate: jax.Array, key: jax.Array) -> jax.Array:
        variables, _ = train(key, net, OPTIMIZERS[name](rate), images, labels, steps)
        logits = net.apply(jax.tree.map(lambda v: v[-1], variables), jnp.asarray(data.test_images), False)
        return (logits.argmax(-1) == data.test_labels).mean()

    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    rates = jnp.asarray(10.0**decades, jnp.float32)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(one, (0, None)), (None, 0)))(rates, keys), np.float64)


def report(accuracy: dict[str, np.ndarray], decades: np.ndarray) -> StudyResult:
    """Judge {optimizer: test accuracies [seeds, R]}."""
    widths = {name: [width(row, decades) for row in rows] for name, rows in accuracy.items()}
    narrowest = np.min([widths[name] for name in ADAPTIVE], 0)
    widest = np.max([widths[name] for name in PLAIN], 0)
    holds = bool((narrowest > widest).all())
    listed = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in widths.items())
    verdict = f"Decades of learning rates within {1 - SHARE:.0%} of the best accuracy: {listed}."
    figure, axes = new_figure((5.5, 3.2))
    for (name, rows), color in zip(accuracy.items(), (GRAY, PINK, GREEN, VERMILION, BLUE), strict=True):
        axes.plot(10.0**decades, rows.mean(0), "o-", ms=3, color=color, label=name)
    axes.set(xlabel="learning rate", ylabel="test accuracy", ylim=(0, 1.02), xscale="log")
    axes.legend(frameon=False, fontsize=8)
    numbers = {f"width in decades, {name}": values for name, values in widths.items()}
    numbers |= {f"best accuracy, {name}": np.nanmax(rows, 1).tolist() for name, rows in accuracy.items()}
    baseline = (float(widest.mean()), "the wider of SGD and SGD with momentum", "higher")
    headline = Headline(
        "decades of good learning rates, narrowest adaptive optimizer", narrowest, "digits", 0.2, baseline
    )
    return StudyResult(numbers, verdict, {"accuracy at each learning rate": figure}, holds, headline)


def study(*, num_seeds: PositiveInt = 3, steps: PositiveInt = 300) -> StudyResult:
    """Train by each optimizer at each learning rate.

    Args:
      steps: training steps of each run, of 64 examples.
    """
    return report({name: accuracies(name, DECADES, num_seeds, steps) for name in (*PLAIN, *ADAPTIVE)}, DECADES)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 4})

if __name__ == "__main__":
    main(experiment)
