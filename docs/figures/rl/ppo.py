"""Figure of dlcore.rl.ppo; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.rl.ppo import clipped_surrogate_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ppo"]


def ppo() -> "Figure":
    """The clipped objective of PPO against the ratio of the new probability to the old one; higher is better.

    Left: for an action that was better than expected (advantage 1) nothing is gained by a ratio above 1.2. Right: for
    a bad action (advantage -1) nothing is gained below 0.8. On the other sides the objective stays a line, so a step
    that went wrong is always pulled back. The dashed line is without clipping. The dotted line is the gradient, which
    vanishes where the objective is flat.
    """
    figure, axes = new_figure((7, 2.7), 1, 2, sharey=True)
    ratios = jnp.linspace(0.3, 1.9, 160)
    for ax, advantage, color in zip(axes, (1.0, -1.0), (BLUE, VERMILION), strict=True):

        def objective(ratio, clip_eps, a=advantage):
            return -clipped_surrogate_loss(jnp.log(ratio), jnp.zeros(()), jnp.float32(a), clip_eps)

        ax.plot(ratios, jax.vmap(lambda r, f=objective: f(r, 0.2))(ratios), color=color, linewidth=2, label="objective")
        ax.plot(ratios, jax.vmap(lambda r, f=objective: f(r, 10.0))(ratios), "--", color=GRAY, label="without clipping")
        slopes = jax.vmap(jax.grad(lambda r, f=objective: f(r, 0.2)))(ratios)
        ax.plot(ratios, slopes, ":", color="black", label="gradient")
        ax.axvline(1, color=GRAY, linewidth=0.5)
        ax.set(xlabel="ratio of probabilities")
        ax.set_title(f"advantage {advantage:+.0f}", fontsize=9)
    axes[0].set(ylabel="objective")
    axes[0].legend(frameon=False, fontsize=8)
    return figure
