"""Figure of dlcore.rl.td3; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.rl.off_policy import average_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["td3"]


def td3() -> "Figure":
    """Why TD3 has two critics and slow targets. Left: 2,000 critics of 10 actions of equal value 0, each with errors.

    The best of the noisy values is nearly always too large (red): a policy that climbs one critic finds its errors.
    The smaller of two critics (blue) at that action is far less wrong. Right: a target that jumps to 1, and the
    target networks, which follow by a share tau of the difference in each step.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    first, second = np.random.default_rng(0).normal(0, 1, (2, 2000, 10))
    best = first.argmax(1)[:, None]
    own, other = (np.take_along_axis(q, best, 1)[:, 0] for q in (first, second))
    for values, color, label in ((own, VERMILION, "one critic"), (np.minimum(own, other), BLUE, "smaller of two")):
        left.hist(values, np.linspace(-3, 4, 57), histtype="step", color=color, label=label)
    left.axvline(0, color=GRAY, linestyle=":", linewidth=1)
    left.set(xlabel="value of the chosen action (true: 0)", ylabel="critics")
    for tau, color, style in ((0.005, BLUE, "-"), (0.05, GREEN, "--")):
        _, path = jax.lax.scan(
            lambda t, _, tau=tau: (average_targets(t, jnp.ones(()), tau),) * 2, jnp.zeros(()), length=400
        )
        right.plot(path, style, color=color, label=f"tau {tau}")
    right.axhline(1, color=GRAY, linestyle=":", linewidth=1)
    right.set(xlabel="step", ylabel="target network")
    for ax in (left, right):
        ax.legend(frameon=False)
    return figure
