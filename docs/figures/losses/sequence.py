"""Figure of dlcore.losses.sequence; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses.sequence import ctc_loss
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sequence"]


def sequence() -> "Figure":
    """CTC with four classes of equal scores: the blank (-) and three symbols.

    Left: the pull on each score (negative gradient) for the label "abb" in 12 steps. It pulls a early and b late; it
    pushes down c, which does not occur. Right: the loss against the number of steps. "abb" needs a fourth step, for the
    blank between its repeats; with fewer the loss is infinite.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1.3, 1))
    pull = -jax.grad(ctc_loss)(jnp.zeros((12, 4)), jnp.array([1, 2, 2])).T
    limit = float(np.abs(pull).max())
    picture = left.imshow(pull, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    left.set(xlabel="step", ylabel="class", xticks=range(0, 12, 2))
    left.set_yticks(range(4), ["-", "a", "b", "c"])
    figure.colorbar(picture, ax=left, label="pull on the score")
    steps = np.arange(1, 16)
    labels = (("abc", [1, 2, 3], BLUE, "o-"), ("abb", [1, 2, 2], VERMILION, "s--"))
    for name, label, color, style in labels:
        losses = [float(ctc_loss(jnp.zeros((count, 4)), jnp.array(label))) for count in steps]
        right.plot(steps, losses, style, color=color, markersize=4, label=f'"{name}"')
    right.set(xlabel="steps", ylabel="loss / nats", xticks=[1, 3, 4, 6, 9, 12, 15], xlim=(0, 16))
    right.legend(frameon=False)
    return figure
