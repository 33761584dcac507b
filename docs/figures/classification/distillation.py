"""Figure of dlcore.classification.distillation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.losses import distillation_loss
from dlcore.ops import squared_distances
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["distillation"]


def distillation() -> "Figure":
    """What a teacher says more than a label, and why its loss has the factor of the squared temperature.

    Left: a digit, and the teacher's probabilities of the classes: at temperature 1 (gray) hardly more than the label;
    at 3 (blue) also which digits look alike. Right: size of the student's gradient by the temperature. Without the
    factor (dashes) it vanishes; with it, it stays of the same order.
    """
    figure, (picture, left, right) = new_figure((7, 2.6), 1, 3, width_ratios=[0.6, 1.4, 1.4])
    train = digits("train").arrays
    pixels, label = train["image"].reshape(-1, 64), train["label"]
    means = np.stack([pixels[label == digit].mean(0) for digit in range(10)])
    teacher = -squared_distances(pixels, means)
    certainty = jax.nn.softmax(teacher)[np.arange(len(label)), label]
    chosen = int(np.argmax((label == 3) & (certainty > 0.9) & (certainty < 0.97)))
    show_image(picture, train["image"][chosen, ..., 0], f"label {label[chosen]}", cmap="gray_r")
    for temperature, shift, color in ((1, -0.2, GRAY), (3, 0.2, BLUE)):
        shares = jax.nn.softmax(teacher[chosen] / temperature)
        left.bar(np.arange(10) + shift, shares, 0.38, color=color, label=f"temperature {temperature}")
    left.set(xlabel="class", ylabel="probability", xticks=range(10))
    temperatures = jnp.geomspace(0.5, 30, 40)
    student = 3 * jax.random.normal(jax.random.key(0), (256, 10))

    @jax.vmap
    def gradient_size(temperature):
        gradient = jax.grad(lambda s: distillation_loss(s, teacher[:256], temperature).mean())(student)
        return 256 * jnp.linalg.norm(gradient, axis=-1).mean()

    size = gradient_size(temperatures)
    right.plot(temperatures, size, color=BLUE, label="with the factor")
    right.plot(temperatures, size / temperatures**2, "--", color=VERMILION, label="without")
    right.set(xlabel="temperature", ylabel="size of the gradient", xscale="log", yscale="log")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    return figure
