"""Figure of dlcore.semi_supervised.pseudo_label; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
import optax

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.semi_supervised.pseudo_label import learner
from dlcore.semi_supervised.two_streams import RampUp
from experiments.figure_parts import Perceptron, few_labels, learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pseudo_label"]


def pseudo_label() -> "Figure":
    """Pseudo-labels move the border between two classes of numbers to the gap in the data.

    Left: two labels alone (red) put the border at x = 0.23, inside the left group. All pseudo-labels (blue) move it to
    0.56, toward the gap. Those above 0.95 (green) leave it, because they lie far from it. Right: the error on 100 new
    numbers.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    rng = np.random.default_rng(0)
    label = np.int32(rng.integers(0, 2, 400))
    x = np.float32(rng.normal(np.where(label, 2.0, 0.0), 0.5))
    x[:2], label[:2] = (-1.0, 1.6), (0, 1)
    batch, rest = few_labels(x[:, None, None, None], label, 1, 300)
    grid = np.linspace(-2, 4, 200, dtype=np.float32)
    left.hist(x, 40, (-2, 4), density=True, color=GRAY, alpha=0.4, label="unlabeled")
    rows = (
        (0.0, "all", VERMILION, "--", "two labels alone"),
        (1.0, "all", BLUE, "-", "all pseudo-labels"),
        (1.0, "threshold", GREEN, "-.", "those above 0.95"),
    )
    for weight, weighting, color, style, name in rows:
        parts = {"model": Perceptron(depth=0), "optimizer": optax.sgd(0.3)}
        technique = learner(**parts, weighting=weighting, ramp=RampUp(weight, 100))
        state, curves = learning_curves(technique, batch, rest, 300)
        p = technique.predict(state, {"image": grid[:, None, None, None], "index": np.arange(200)})["probabilities"]
        left.plot(grid, p[:, 1], style, color=color, label=name)
        right.plot(100 * (1 - curves["rest/accuracy"]), style, color=color)
    left.plot([-1, 1.6], [0, 1], "kX", label="labels")
    left.set(xlabel="x", ylabel="probability of the second class")
    right.set(xlabel="step", ylabel="error on new numbers (%)")
    left.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1.04, 0.7))
    return figure
