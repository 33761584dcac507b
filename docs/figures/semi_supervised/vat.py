"""Figure of dlcore.semi_supervised.vat; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses import kl_divergence_loss
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.semi_supervised.vat import adversarial_direction
from experiments.figure_parts import Perceptron, embedded_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vat"]


def vat() -> "Figure":
    """The directions that virtual adversarial training searches, and how much they change a prediction.

    Left: near the border the found step (arrow) leads across or straight away from it, without any label. Right: the
    change of a random network's predictions of 100 digits. At length 1, one iteration (blue) changes them 14 times as
    much as a random direction (red); further iterations add little.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    a, b = np.meshgrid(np.linspace(-1.5, 1.5, 60), np.linspace(-1.2, 1.2, 60))
    p = jax.nn.softmax(_wave(jnp.stack([a, b], -1)))[..., 1]
    left.contourf(a, b, p, np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.6)
    low, high = jnp.array([[-1.2, -0.9], [1.2, 0.9]])
    points = jax.random.uniform(jax.random.key(0), (40, 2), minval=low, maxval=high)
    step = 0.25 * adversarial_direction(_wave, points, jax.random.key(1), iterations=2)
    left.quiver(*points.T, *step.T, angles="xy", scale_units="xy", scale=1, width=0.006)
    left.set(xlabel="x1", ylabel="x2")
    images, network = jnp.asarray(embedded_digits(100)[0]), Perceptron(10, 64)
    weights = network.init(jax.random.key(0), images)
    scores = jax.jit(lambda x: network.apply(weights, x))
    clean, lengths = jax.nn.softmax(scores(images)), np.linspace(0, 3, 13)
    rows = ((0, VERMILION, "--", "random"), (1, BLUE, "-", "1 iteration"), (2, GREEN, "-.", "2"), (8, GRAY, ":", "8"))
    for count, color, style, name in rows:
        direction = adversarial_direction(scores, images, jax.random.key(1), iterations=count)
        losses = [kl_divergence_loss(scores(images + e * direction), clean).mean() for e in lengths]
        right.plot(lengths, losses, style, color=color, label=name)
    right.set(xlabel="length of the change", ylabel="KL divergence")
    right.legend(frameon=False, fontsize=8)
    return figure


def _wave(x: jax.Array) -> jax.Array:
    """Scores of two classes, between which the border is a wave."""
    score = 4 * (x[..., 1] - 0.6 * jnp.sin(3 * x[..., 0]))
    return jnp.stack([0 * score, score], -1)
