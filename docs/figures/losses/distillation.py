"""Figure of dlcore.losses.distillation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses.distillation import distillation_loss
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["distillation"]


def distillation() -> "Figure":
    """Left: the pull of a teacher on the five scores of a student that has learned nothing, at three temperatures.

    The pull is the negative gradient of the loss. At 1 only the first class counts, and the other four are pushed down
    alike; at higher temperatures the student also learns the order of those. Right: the length of this gradient. The
    factor tau² keeps it from vanishing.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    teacher = jnp.array([9.0, 5, 3, 0, -2])
    gradient = jax.vmap(jax.grad(distillation_loss), (None, None, 0))
    temperatures = jnp.array([1.0, 4, 16])
    for number, (pull, hatch) in enumerate(
        zip(-gradient(jnp.zeros(5), teacher, temperatures), ("", "//", ".."), strict=True)
    ):
        place = np.arange(5) + 0.27 * (number - 1)
        left.bar(place, pull, 0.25, color=PALETTE[number], hatch=hatch, label=f"tau = {temperatures[number]:g}")
    left.axhline(0, color=GRAY, linewidth=0.8)
    left.set(xlabel="the teacher's score", ylabel="pull on the student's score")
    left.set_xticks(range(5), [f"{score:g}" for score in teacher])
    temperatures = jnp.logspace(0, 2, 41)
    length = jnp.linalg.norm(gradient(jnp.zeros(5), teacher, temperatures), axis=1)
    right.loglog(temperatures, length, color=PALETTE[0], label="with tau²")
    right.loglog(temperatures, length / temperatures**2, "--", color=PALETTE[1], label="without it")
    right.set(xlabel="temperature tau", ylabel="length of the gradient")
    for ax in (left, right):
        ax.legend(frameon=False)
    return figure
