"""Figure of dlcore.semi_supervised.mean_teacher; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.semi_supervised.mean_teacher import learner
from dlcore.semi_supervised.two_streams import RampUp, averaging
from experiments.figure_parts import Perceptron, embedded_digits, few_labels, learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mean_teacher"]


def mean_teacher() -> "Figure":
    """A student with a high learning rate on 40 labeled and 400 unlabeled digits, and its mean teacher.

    Left: with a decay of 0 (red) the teacher is the student itself, whose accuracy jumps; the average of the weights
    (blue) is steady. Right: what each step counts in the teacher after 200 steps. The last 50 have 92 %, so poor first
    weights are forgotten.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    batch, rest = few_labels(*embedded_digits(800), 4, 400)
    ages, steps = jnp.eye(200), jnp.arange(200)
    parts = {"model": Perceptron(10, 64), "optimizer": optax.sgd(1.0), "augment": _noise, "ramp": RampUp(30.0, 100)}
    for decay, color, style in ((0.0, VERMILION, "--"), (0.99, BLUE, "-")):
        _, curves = learning_curves(learner(**parts, ema_decay=decay), batch, rest, 200)
        left.plot(100 * curves["rest/accuracy"], style, color=color, label=f"decay {decay:g}")
    follow = averaging(0.99).follow
    shares, _ = jax.lax.scan(lambda teacher, t: (follow(teacher, ages[t], t + 1), None), jnp.zeros(200), steps)
    right.fill_between(np.arange(1, 201), 100 * shares, color=BLUE, alpha=0.3)
    left.set(xlabel="step", ylabel="accuracy (%)")
    right.set(xlabel="step", ylabel="share in the teacher (%)", ylim=(0, 5))
    left.legend(frameon=False, fontsize=8)
    return figure


def _noise(key: jax.Array, image: jax.Array) -> jax.Array:
    """Add normal noise."""
    return image + 0.4 * jax.random.normal(key, image.shape)
