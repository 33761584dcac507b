"""Figure of dlcore.rl.dqn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.rl.dqn import q_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dqn"]


def dqn() -> "Figure":
    """Overestimation: targets of states whose actions all have the value 0, by networks that err by 1.

    DQN takes the largest value of its target network, so the error of the target grows with the number of actions.
    Double DQN chooses the action by the online network and reads its value in the target network; as the two err
    independently here, the error vanishes. In training they are copies of different age, and a part of it remains.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    zero, running = jnp.zeros(()), jnp.zeros((), bool)
    actions = np.array([2, 3, 5, 10, 18, 40])
    for double, color, marker in ((False, VERMILION, "s"), (True, BLUE, "o")):
        means = []
        for count in actions:
            online, target = jax.random.normal(jax.random.key(int(count)), (2, 4000, count))
            targets = jax.vmap(lambda q, t, d=double: q_target(zero, running, q, t, 1.0, d))(online, target)
            means.append(float(targets.mean()))
        label = "double DQN" if double else "DQN"
        left.plot(actions, means, marker=marker, color=color, label=label)
        right.hist(np.asarray(targets), np.linspace(-4, 5, 46), histtype="step", color=color, label=label)
    for ax in (left, right):
        ax.legend(frameon=False)
    left.axhline(0, color=GRAY, linestyle=":", linewidth=1)
    left.set(xlabel="actions", ylabel="mean target (true: 0)")
    right.set(xlabel="target with 40 actions", ylabel="states")
    return figure
