"""Figure of dlcore.rl.gradient_estimators; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.rl.gradient_estimators import pathwise_gradients, score_function_gradients

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_estimators"]


def gradient_estimators() -> "Figure":
    """Estimates of the slope of E[(x - 3)^2] by the mean of a Gaussian x, where it is 0; the true slope is -6.

    Left: 5,000 estimates of one sample each. Both are right in the mean, but the score function (which only needs
    values of the cost) scatters far more than the pathwise derivative; a baseline helps. Right: their deviation with
    more samples.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)

    def sample(mean, key):
        return mean + jax.random.normal(key)

    def log_probability(mean, x):
        return -0.5 * jnp.square(x - mean)

    def cost(x):
        return jnp.square(x - 3)

    def by_score(baseline):
        return lambda key: score_function_gradients(sample, log_probability, cost, 0.0, key[None], baseline)

    estimators = {
        "score function": (by_score(0.0), VERMILION, "-."),
        "score, baseline 10": (by_score(10.0), GREEN, "--"),
        "pathwise": (lambda key: pathwise_gradients(sample, cost, 0.0, key[None]), BLUE, "-"),
    }
    keys = jax.random.split(jax.random.key(0), 5000)
    counts = np.array([1, 4, 16, 64, 256])
    for name, (estimate, color, style) in estimators.items():
        slopes = np.asarray(jax.vmap(estimate)(keys))
        left.hist(slopes, np.linspace(-60, 40, 81), histtype="step", density=True, color=color, label=name)
        right.plot(
            counts, [slopes[: len(slopes) // n * n].reshape(-1, n).mean(1).std() for n in counts], style, color=color
        )
    left.axvline(-6, color=GRAY, linestyle=":", linewidth=1)
    left.set(xlabel="estimate of the slope", ylabel="density", ylim=(0, 0.3))
    right.set(xlabel="samples of an estimate", ylabel="deviation", xscale="log", yscale="log")
    left.legend(frameon=False, fontsize=7)
    return figure
