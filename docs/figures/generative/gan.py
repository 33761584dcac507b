"""Figure of dlcore.generative.gan; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.two_players import LOSSES
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gan"]


def gan() -> "Figure":
    """The generator's losses of four games, and their slopes, by the discriminator's logit of a sample.

    A sample that the discriminator surely calls fake has a logit far below 0. There the minimax loss is flat, and the
    generator learns nothing when it needs it most; the non-saturating loss has a slope of -1, the hinge loss
    everywhere. The least-squares loss pulls the harder the farther the logit is from 1, even from above.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    logits = jnp.linspace(-5, 5, 201)
    for (name, loss), color, style in zip(LOSSES.items(), PALETTE, ("-", "--", ":", "-."), strict=False):
        left.plot(logits, loss.generator(logits), style, color=color, label=name.replace("_", " "))
        right.plot(logits, jax.grad(lambda x, loss=loss: loss.generator(x).sum())(logits), style, color=color)
    left.set(xlabel="logit of a sample", ylabel="generator's loss", ylim=(-6, 26))
    right.set(xlabel="logit of a sample", ylabel="slope", ylim=(-3.2, 1.2), yticks=np.arange(-3, 2))
    left.legend(frameon=False, loc="upper right")
    return figure
