"""Figure of dlcore.generative.likelihood; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.generative.likelihood import bayes_rule
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["likelihood"]


def likelihood() -> "Figure":
    """Densities of two classes, N(-1, 0.7²) and N(1.5, 0.5²), turned into a classifier by Bayes' rule.

    Left: p(y | x) of the second class at three priors; a rarer class needs a larger x. Right: log p(x). Far to the left
    the classifier is as sure as near the first class, but no class explains such an x, and its density tells.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    x = jnp.linspace(-6, 6, 301)
    means, deviations = jnp.array([-1.0, 1.5]), jnp.array([0.7, 0.5])
    offset = (x[:, None] - means) / deviations
    log_likelihood = -0.5 * jnp.square(offset) - jnp.log(deviations * np.sqrt(2 * np.pi))
    for prior, color, style in ((0.5, BLUE, "-"), (0.1, VERMILION, "--"), (0.01, GREEN, ":")):
        posterior, evidence = bayes_rule(log_likelihood, jnp.log(jnp.array([1 - prior, prior])))
        left.plot(x, jnp.exp(posterior[:, 1]), style, color=color, label=f"prior {prior:g}")
        right.plot(x, evidence, style, color=color)
    for ax in (left, right):
        ax.axvspan(-6, -4, color=GRAY, alpha=0.2)
        ax.set(xlabel="x")
    left.set(ylabel="p(second class | x)", xlim=(-6, 4))
    right.set(ylabel="log p(x) / nats", xlim=(-6, 4), ylim=(-30, 2))
    left.legend(frameon=False, loc="center left", bbox_to_anchor=(0.05, 0.6))
    return figure
