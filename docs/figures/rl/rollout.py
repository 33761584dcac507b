"""Figure of dlcore.rl.rollout; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.rl.rollout import generalized_advantages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rollout"]


def rollout() -> "Figure":
    """Advantages of a rollout of 30 steps with one reward of 1 at step 20, by the lambda of GAE.

    Left: the critic says 0 everywhere, so only the reward is news. With lambda = 0 the one step before it gets
    credit; with 0.95 the steps before it do, less and less; with 1 the credit falls by the discount alone. Right: the
    critic already expects the reward, and nothing is left to learn from.
    """
    figure, axes = new_figure((7, 2.7), 1, 2, sharey=True)
    steps = np.arange(30)
    reward = jnp.asarray((steps == 20).astype(np.float32))
    expected = np.where(steps <= 20, 0.99 ** np.maximum(20 - steps, 0), 0.0)
    ended = jnp.zeros(30, bool)
    for ax, values, title in (
        (axes[0], 0 * expected, "a critic that says 0"),
        (axes[1], expected, "a critic that is right"),
    ):
        value = jnp.asarray(values, jnp.float32)
        after = jnp.append(value[1:], 0.0)
        for gae_lambda, color, style in ((0.0, VERMILION, "o-"), (0.95, BLUE, "s-"), (1.0, GREEN, "^-")):
            advantages = generalized_advantages(reward, value, after, ended, ended, 0.99, gae_lambda)
            ax.plot(steps, advantages, style, color=color, markersize=3, linewidth=0.8, label=f"lambda {gae_lambda}")
        ax.axvline(20, color=GRAY, linestyle=":", linewidth=0.8)
        ax.set(xlabel="step")
        ax.set_title(title, fontsize=9)
    axes[0].set(ylabel="advantage")
    axes[1].legend(*axes[0].get_legend_handles_labels(), frameon=False)
    return figure
