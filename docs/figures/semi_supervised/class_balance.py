"""Figure of dlcore.semi_supervised.class_balance; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.semi_supervised.class_balance import align_distribution, class_thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_balance"]


def class_balance() -> "Figure":
    """Two balances of 5000 pseudo-labels of five classes, from an easy one to a hard one.

    Left: one threshold of 0.95 (gray) accepts 96 % of the easiest class and 12 % of the hardest. Thresholds by class
    (numbers, blue) accept over 85 % of each, with more errors. Right: mean probabilities favor easy classes (gray);
    after alignment they are nearly equal (blue).
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    key_class, key_noise = jax.random.split(jax.random.key(0))
    classes = jax.random.randint(key_class, (5000,), 0, 5)
    margin, prior = jnp.array([8.0, 7.0, 6.0, 5.0, 4.0]), jnp.array([0.8, 0.4, 0.0, -0.4, -0.8])
    scores = margin[classes, None] * jax.nn.one_hot(classes, 5) + prior + 1.5 * jax.random.normal(key_noise, (5000, 5))
    p = jax.nn.softmax(scores)
    guess, confidence = p.argmax(-1), p.max(-1)
    confident = _mean_by_class(confidence >= 0.95, guess)
    thresholds = class_thresholds(0.95, confident)
    x = np.arange(5)
    for shift, color, accepted, name in (
        (-0.2, GRAY, confidence >= 0.95, "0.95 for all"),
        (0.2, BLUE, confidence >= thresholds[guess], "class thresholds"),
    ):
        shares = 100 * _mean_by_class(accepted, classes) * 5
        left.bar(x + shift, shares, 0.38, color=color, label=name)
    for at, share, threshold in zip(x, shares, thresholds, strict=True):
        left.text(at + 0.2, share + 1, f"{threshold:.2f}", ha="center", fontsize=8)
    hard = jax.nn.softmax(scores / 4)
    aligned = align_distribution(hard, hard.mean(0))
    for shift, color, q, name in ((-0.2, GRAY, hard, "predicted"), (0.2, BLUE, aligned, "aligned")):
        shares = 100 * q.mean(0)
        right.bar(x + shift, shares, 0.38, color=color, label=name)
    right.axhline(20, color=VERMILION, linestyle="--", linewidth=0.8)
    left.set(xlabel="class, from easy to hard", ylabel="accepted (%)", xticks=x, ylim=(0, 125))
    right.set(xlabel="class", ylabel="mean probability (%)", xticks=x, ylim=(0, 38))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return figure


def _mean_by_class(values: jax.Array, classes: jax.Array) -> jax.Array:
    """Sum of the values of each of five classes over the number of all values."""
    return (jax.nn.one_hot(classes, 5) * values[:, None]).mean(0)
