"""Figure of dlcore.rl.mdp; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.rl.mdp import discounted_sum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mdp"]


def mdp() -> "Figure":
    """What a discount means. Left: the weight of a reward by its delay; dots mark half of the weight.

    Right: the return of a reward of 1 now against a reward of 2 later, by the delay of the later one. With gamma =
    0.9 the agent waits at most 6 steps for the double reward, with 0.99 up to 68: the discount sets how far an agent
    looks ahead.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    delay = np.arange(0, 101)
    later = 2.0 * np.eye(101)
    for gamma, color, style in ((0.5, VERMILION, "-."), (0.9, GREEN, "--"), (0.99, BLUE, "-")):
        weights = jax.vmap(lambda rewards, g=gamma: discounted_sum(rewards, g))(jnp.asarray(later))
        left.plot(delay, weights / 2, style, color=color, label=f"gamma {gamma}")
        left.plot([np.log(0.5) / np.log(gamma)], [0.5], "o", color=color, markersize=4)
        right.plot(delay, weights, style, color=color)
    right.axhline(1, color=GRAY, linewidth=0.8)
    right.text(100, 1.03, "1 now", ha="right", fontsize=8, color=GRAY)
    left.set(xlabel="delay (steps)", ylabel="weight of the reward")
    right.set(xlabel="delay of the reward of 2 (steps)", ylabel="return")
    left.legend(frameon=False)
    return figure
