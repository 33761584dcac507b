"""How the error falls with the number of training examples, and whether small sets predict the large one.

python -m experiments.studies.data_fraction

Over a wide range of sizes the test error is a straight line on logarithmic axes.

    error(n) = a n^-b          ln error = ln a - b ln n, by least squares

A perceptron learns 25, 50, ..., 1,000 digits, with the same number of steps for each, over subsets and weights of
several seeds. The line through the sizes of up to 250 is compared with the measured errors of 500 and 1,000 examples,
on the 297 remaining examples of the same writers and on the 500 of other writers. The claim holds where the mean error
falls with every size on both, and the line predicts the last error to a quarter on the same writers.

References: Cortes et al. 1993, "Learning curves: asymptotic values and rate of convergence"; Hestness et al. 2017,
arXiv:1712.00409.

Measured over ten seeds (10 s of one core): the error falls with every size, but the line does not predict it. On the
same writers it is 7.6 n^-0.97 up to 250 examples, which predicts 0.9 % of 1,000, where 1.6 % is measured; on other
writers 2 n^-0.56, 4.2 % against 7.4 %. Both curves bend up, as towards a floor that a line does not have.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, shuffled_digits, train

MOST = 1000
WHO = ("the same", "other")


def errors(train_sizes: tuple[int, ...], num_seeds: int, steps: int, width: int) -> np.ndarray:
    """Measure the error [seeds, sizes, 3] in training, on the same writers, and on other writers."""
    data, net = shuffled_digits(), SmallNet((width,))
    images, labels = jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels)

    def one(key, count):
        order = jax.random.permutation(jax.random.fold_in(key, 7), len(labels))
        x, y = images[order], labels[order]
        optimizer = optax.adamw(optax.cosine_decay_schedule(3e-3, steps), weight_decay=0.1)
        variables, _ = train(key, net, optimizer, x, y, steps, count=count, batch_size=32)
        variables = jax.tree.map(lambda v: v[0], variables)

        def error(x, y, weight=None):
            return 1 - log_loss_and_accuracy(jax.nn.log_softmax(net.apply(variables, x, False)), y, weight)[1]

        in_subset = (jnp.arange(len(labels)) < count).astype(jnp.float32)
        held_out = error(x[MOST:], y[MOST:])
        return jnp.stack([error(x, y, in_subset), held_out, error(data.test_images, data.test_labels)])

    all_errors = jax.jit(jax.vmap(lambda key: jax.vmap(lambda count: one(key, count))(jnp.asarray(train_sizes))))
    return np.asarray(all_errors(jax.random.split(jax.random.key(0), num_seeds)), np.float64)


def power_law(train_sizes: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Fit (a, b) of error = a n^-b by least squares of the logarithms."""
    slope, offset = np.polyfit(np.log(train_sizes), np.log(error), 1)
    return float(np.exp(offset)), float(-slope)


def extrapolate(train_sizes: np.ndarray, error: np.ndarray, largest_fitted: int) -> tuple[float, float, float]:
    """Fit (a, b) to the sizes of up to `largest_fitted`, and give the line's relative excess over the last error."""
    a, b = power_law(train_sizes[train_sizes <= largest_fitted], error[train_sizes <= largest_fitted])
    return a, b, a * train_sizes[-1] ** -b / error[-1] - 1


def judge(train_sizes: tuple[int, ...], results: np.ndarray, largest_fitted: int) -> tuple[str, bool]:
    """Judge errors [seeds, sizes, 3]."""
    sizes, mean = np.array(train_sizes), results.mean(0)
    sentences, falls, misses = [], [], []
    for column, who in enumerate(WHO, 1):
        a, b, off = extrapolate(sizes, mean[:, column], largest_fitted)
        falls.append(bool((np.diff(mean[:, column]) < 0).all()))
        misses.append(abs(off))
        sentences.append(
            f"On {who} writers the error {'falls' if falls[-1] else 'does NOT fall'} with every size, from "
            f"{mean[0, column]:.1%} with {sizes[0]} examples to {mean[-1, column]:.1%} with {sizes[-1]}; up to "
            f"{largest_fitted} it is {a:.2g} n^-{b:.2f}, each doubling {1 - 2**-b:.0%} less, which predicts "
            f"{a * sizes[-1] ** -b:.1%} of {sizes[-1]}, {abs(off):.0%} too {'much' if off > 0 else 'little'}."
        )
    return " ".join(sentences), all(falls) and bool(misses[0] < 0.25)


def draw(train_sizes, results, largest_fitted):
    figure, panels = new_figure((9.5, 3.8), 1, 2, sharey=True, grid="both")
    sizes = np.array(train_sizes)
    dense = np.geomspace(sizes[0], sizes[-1], 50)
    for axes, (column, who) in zip(panels, enumerate(WHO, 1), strict=True):
        errors = 100 * results[:, :, column]
        a, b, _ = extrapolate(sizes, errors.mean(0), largest_fitted)
        axes.axvspan(sizes[0] * 0.9, largest_fitted, color=VERMILION, alpha=0.07, lw=0)
        axes.plot(
            dense, a * dense**-b, color=VERMILION, ls="--", label=f"line of up to {largest_fitted}: $n^{{-{b:.2f}}}$"
        )
        axes.plot(sizes, errors.mean(0), "-o", color=BLUE, label="mean of the seeds")
        axes.plot(np.tile(sizes, (len(errors), 1)), errors, ".", color=BLUE, alpha=0.35, ms=6)
        axes.set(xscale="log", yscale="log", xlabel="training examples", title=f"{who} writers")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.legend(frameon=False)
    figure.axes[0].set(ylabel="error, %", ylim=(80 * max(results[:, :, 1:].mean(0).min(), 5e-3), 60))
    return figure


def study(
    *,
    num_seeds: PositiveInt = 10,
    train_sizes: tuple[Annotated[int, Range(1, 1000)], ...] = (25, 50, 100, 250, 500, 1000),
    largest_fitted: PositiveInt = 250,
    steps: PositiveInt = 1500,
    width: PositiveInt = 128,
) -> StudyResult:
    """Measure a learning curve over the number of examples, and fit a line to its small sizes.

    Args:
      train_sizes: numbers of training examples, rising, at most 1000.
      largest_fitted: largest number of training examples that the line is fitted to.
      steps: training steps of each run, of 32 examples.
      width: units of the hidden layer.
    """
    results = errors(train_sizes, num_seeds, steps, width)
    verdict, holds = judge(train_sizes, results, largest_fitted)
    numbers = {
        f"error, {who} writers, {count} examples": results[:, k, column].tolist()
        for column, who in enumerate(WHO, 1)
        for k, count in enumerate(train_sizes)
    }
    numbers["training error"] = results[:, :, 0].mean(0).tolist()
    headline = Headline(f"test error of {train_sizes[-1]} examples, the same writers", results[:, -1, 1], "digits")
    return StudyResult(numbers, verdict, {"data_fraction": draw(train_sizes, results, largest_fitted)}, holds, headline)


SMOKE = {"num_seeds": 1, "train_sizes": (25, 100, 400), "largest_fitted": 100, "steps": 10, "width": 16}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
