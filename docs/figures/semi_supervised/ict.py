"""Figure of dlcore.semi_supervised.ict; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
import optax

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.semi_supervised.ict import learner
from dlcore.semi_supervised.two_streams import RampUp
from experiments.figure_parts import Perceptron, embedded_digits, few_labels, learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ict"]


def ict() -> "Figure":
    """Predictions for mixtures of two digits, by networks that learned with and without interpolation consistency.

    Left: the probability of the first digit's class by its share; labels alone (red) make it jump near the middle.
    Right: the squared distance to the mixture of both predictions, 0.018 at a half. With the consistency loss (blue) it
    is 0.005: predictions change evenly.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    batch, rest = few_labels(*embedded_digits(500), 4, 300)
    shares = np.linspace(0, 1, 11, dtype=np.float32)
    u, v = rest["image"][:100], rest["image"][100:]
    mixed = shares[:, None, None, None, None] * u + (1 - shares[:, None, None, None, None]) * v
    rows = ((0.0, VERMILION, "--", "labels alone"), (30.0, BLUE, "-", "interpolation consistency"))
    for weight, color, style, name in rows:
        parts = {"model": Perceptron(10, 64), "optimizer": optax.adam(0.003)}
        technique = learner(**parts, ramp=RampUp(weight, 100), ema_decay=0.95)
        state, _ = learning_curves(technique, batch, rest, 150)
        images = {"image": mixed.reshape(-1, 8, 8, 1), "index": np.arange(11 * 100)}
        p = np.asarray(technique.predict(state, images)["probabilities"]).reshape(11, 100, 10)
        line = shares[:, None, None] * p[-1] + (1 - shares[:, None, None]) * p[0]
        error = np.square(p - line).mean((1, 2))
        far = p[-1].argmax(-1) != p[0].argmax(-1)
        own = p[:, np.arange(100), p[-1].argmax(-1)][:, far].mean(1)
        left.plot(shares, own, style, color=color, label=name)
        right.plot(shares, error, style, color=color)
    left.plot([0, 1], [0, 1], ":", color=GRAY, label="straight line")
    left.set(xlabel="share of the first digit", ylabel="probability of its class", ylim=(0, 1.3))
    right.set(xlabel="share of the first digit", ylabel="distance to the mixture", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    return figure
