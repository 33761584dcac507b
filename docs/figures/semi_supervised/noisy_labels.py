"""Figure of dlcore.semi_supervised.noisy_labels; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
import optax

from dlcore.data.source import Source
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.semi_supervised.noisy_labels import corrupt_labels, learner, transition_matrix
from experiments.figure_parts import Perceptron, embedded_digits, learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["noisy_labels"]


def noisy_labels() -> "Figure":
    """Co-teaching and plain cross-entropy on 500 digits, of which 40 % have a wrong label.

    Left: both reach over 80 % within 20 steps. Then cross-entropy (red) learns the wrong labels and falls to 46 %,
    while co-teaching (blue) ends at 75 %. Right: the share of wrong labels that a network repeats: all of them, against
    11 %. Stopping early would be as good.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    images, labels = embedded_digits(1000)
    table, index = transition_matrix(10, 0.4, "symmetric"), np.arange(500)
    clean = Source({"image": images[:500], "label": labels[:500]}, name="digits")
    batch = {**corrupt_labels(clean, table, seed=0).arrays, "index": index}
    parts = {"model": Perceptron(10, 64), "optimizer": optax.adam(0.01), "transition": table}
    technique = learner(**parts, technique="co_teaching", forget_steps=60)
    rest = {"image": images[500:], "label": labels[500:], "index": index}
    _, curves = learning_curves(technique, batch, rest, 250)
    rows = (("co-teaching", BLUE, "-", ""), ("cross-entropy", VERMILION, "--", "_cross_entropy"))
    for name, color, style, suffix in rows:
        accuracy, memorized = curves[f"rest/accuracy{suffix}"], curves[f"memorized{suffix}"]
        left.plot(100 * accuracy, style, color=color, label=name)
        right.plot(100 * memorized, style, color=color)
    left.set(xlabel="step", ylabel="accuracy on true labels (%)")
    right.set(xlabel="step", ylabel="wrong labels repeated (%)")
    left.legend(frameon=False, fontsize=8)
    return figure
