"""Does a network learn faster from centered, standardized or whitened pixels?

python -m experiments.studies.preprocessing

The digits as they are, with pixels in [0, 1], and after each preprocessing of `dlcore.data.preprocess`, fitted on the
training split alone: pixels in [-1, 1], minus the mean of each channel, minus the mean image, standardized pixel by
pixel, and whitened. A perceptron learns from each by plain gradient descent, at the best of a few learning rates, and
is measured by its training loss after the same number of steps, and by its test accuracy. The condition of the matrix
of second moments E[x x^T], its largest over its smallest eigenvalue above a millionth of it, says how uneven the slopes
of a linear layer on x are. The claim holds where on every seed the loss is lower with the mean image subtracted than
with pixels in [0, 1], and lowest of all whitened or standardized.

Measured over three seeds: it holds. The training loss is 0.086 in [0, 1], 0.074 without the mean image, 0.029
standardized and 0.017 whitened, and the test accuracy 90.2, 91.1, 91.7 and 90.7 %.

Reference: LeCun, Bottou, Orr & Mueller 1998, "Efficient BackProp", section 4.3.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.preprocess import channel_mean, fit_on_first, fit_standardizer, fit_whitening, mean_image, to_signed
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, new_figure, seed_dots
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, shuffled_digits, train


def without(mean: np.ndarray):
    """The function that subtracts a mean."""
    return lambda x: x - mean


RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FITS = {
    "in [0, 1]": lambda train: lambda x: x,
    "in [-1, 1]": lambda train: lambda x: to_signed(255 * x),
    "channel mean": lambda train: without(channel_mean(train)),
    "mean image": lambda train: without(mean_image(train)),
    "standardized": fit_standardizer,
    "whitened": lambda train: fit_whitening(train, epsilon=1e-3),
}
"""Training images to the function that preprocesses images."""


def condition(x: np.ndarray) -> float:
    """Largest over smallest eigenvalue of the second moments of [N, ...], of those above a millionth of the largest."""
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    values = np.linalg.eigvalsh(x.T @ x / len(x))
    return float(values[-1] / values[values > 1e-6 * values[-1]][0])


def measure(name: str, num_seeds: int, steps: int) -> dict[str, np.ndarray]:
    """Train by each rate on each seed: {"loss", "accuracy"} of each seed at its best rate, and the condition."""
    data, net = shuffled_digits(), SmallNet((64,))
    splits = fit_on_first(FITS[name], data.images, data.test_images)
    images, test = (jnp.asarray(x, jnp.float32).reshape(-1, 8, 8, 1) for x in splits)

    def one(key, rate):
        variables, _ = train(key, net, optax.sgd(rate), images, jnp.asarray(data.labels), steps)
        variables = jax.tree.map(lambda v: v[-1], variables)

        def evaluate(x, y):
            return log_loss_and_accuracy(jax.nn.log_softmax(net.apply(variables, x, False)), jnp.asarray(y))

        return evaluate(images, data.labels)[0], evaluate(test, data.test_labels)[1]

    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    losses, accuracies = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(keys, jnp.array(RATES))
    losses = np.nan_to_num(np.asarray(losses, np.float64), nan=np.inf)  # [seeds, rates]
    best = losses.argmin(1)
    rows = np.arange(num_seeds)
    return {"loss": losses[rows, best], "accuracy": np.asarray(accuracies)[rows, best], "condition": condition(images)}


def report(measured: dict[str, dict[str, np.ndarray]]) -> StudyResult:
    """Judge {preprocessing: {"loss", "accuracy" of each seed, "condition"}}."""
    loss = {name: row["loss"] for name, row in measured.items()}
    best = np.minimum(loss["standardized"], loss["whitened"])
    other_losses = np.min([v for name, v in loss.items() if name not in ("standardized", "whitened")], 0)
    holds = bool((loss["mean image"] < loss["in [0, 1]"]).all() and (best < other_losses).all())
    listed = ", ".join(
        f"{name} {row['loss'].mean():.3f} ({row['accuracy'].mean():.1%}, condition {row['condition']:.0f})"
        for name, row in measured.items()
    )
    figure, axes = new_figure((5, 3))
    seed_dots(axes, loss, [GRAY if name == "in [0, 1]" else BLUE for name in loss])
    axes.tick_params(axis="x", rotation=30)
    axes.set(ylabel="training loss", yscale="log")
    numbers = {
        f"{key}, {name}": np.asarray(row[key]).tolist()
        for key in ("loss", "accuracy", "condition")
        for name, row in measured.items()
    }
    baseline = (float(loss["in [0, 1]"].mean()), "pixels in [0, 1]", "lower")
    headline = Headline("training loss, standardized or whitened", best, "digits", 0.2, baseline)
    verdict = f"Training loss (test accuracy) by preprocessing: {listed}."
    return StudyResult(numbers, verdict, {"training loss by preprocessing": figure}, holds, headline)


def study(*, num_seeds: PositiveInt = 3, steps: PositiveInt = 100) -> StudyResult:
    """Train a perceptron on each form of the digits.

    Args:
      steps: training steps of each run, of 64 examples.
    """
    return report({name: measure(name, num_seeds, steps) for name in FITS})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 3})

if __name__ == "__main__":
    main(experiment)
