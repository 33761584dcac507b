"""Figure of dlcore.nn.stochastic; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.stochastic import inverted_dropout, stochastic_depth, survival_probabilities, vanilla_dropout
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["stochastic"]


def stochastic() -> "Figure":
    """Left: a sum of 100 ones under dropout in training (mean and deviation) and at test time (line).

    Vanilla dropout shrinks the sum at test time to the mean of training; the inverted form enlarges what stays in
    training. The noise grows as fewer stay. Right: residual blocks that run (blue) in 30 steps of stochastic depth;
    deep blocks are left out more often.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    probabilities = np.linspace(0.2, 1, 9)
    ones, keys = jnp.ones(100), jax.random.split(jax.random.key(0), 500)
    for name, dropout, color, style in (
        ("vanilla", vanilla_dropout, VERMILION, "--"),
        ("inverted", inverted_dropout, BLUE, "-"),
    ):
        sums = np.array([jax.vmap(lambda k, p=p: dropout(k, ones, keep_prob=p).sum())(keys) for p in probabilities])
        test = [float(dropout(None, ones, keep_prob=p).sum()) for p in probabilities]
        left.errorbar(probabilities, sums.mean(1), sums.std(1), fmt="o", markersize=4, capsize=3, color=color)
        left.plot(probabilities, test, style, color=color, label=name)
    left.set(xlabel="probability to keep a unit", ylabel="sum", ylim=(0, 125))
    left.legend(frameon=False, loc="lower right")
    branch, survival = jnp.ones((30, 1)), survival_probabilities(24, 0.5)
    runs = [
        stochastic_depth(key, branch, survival_probability=p)[:, 0] > 0
        for key, p in zip(keys[:24], survival, strict=True)
    ]
    right.imshow(np.array(runs), cmap="Blues", vmin=0, vmax=1.3, aspect="auto", extent=(0, 30, 24, 0))
    right.set(xlabel="step", ylabel="block, from the input on")
    return figure
