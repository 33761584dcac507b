"""Figure of dlcore.rl.gail; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.rl.gail import imitation_reward

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gail"]


def gail() -> "Figure":
    """The two rewards of GAIL against what the discriminator says: above 0 it takes the action for the expert's.

    Left: the reward of a step. Right: the return of an episode by its length, while the discriminator is undecided
    (logit 0). The positive reward pays for every step, so an agent likes to live long whatever it does; the negative
    one costs, so it likes to end soon. Absorbing states, which give a reward after the end as well, take this bias
    away.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    logits, lengths = jnp.linspace(-5, 5, 101), np.arange(0, 51)
    for kind, color, style in (("positive", BLUE, "-"), ("negative", VERMILION, "--")):
        left.plot(logits, imitation_reward(logits, kind), style, color=color, label=kind)
        right.plot(lengths, lengths * float(imitation_reward(jnp.zeros(()), kind)), style, color=color)
    for ax in (left, right):
        ax.axhline(0, color=GRAY, linewidth=0.6)
    left.set(xlabel="logit of the discriminator", ylabel="reward of a step")
    right.set(xlabel="steps of the episode", ylabel="return at logit 0")
    left.legend(frameon=False)
    return figure
