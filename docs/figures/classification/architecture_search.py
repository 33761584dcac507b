"""Figure of dlcore.classification.architecture_search; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classification.architecture_search import EDGES, OPERATIONS, reinforce_search
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["architecture_search"]


def architecture_search() -> "Figure":
    """A search whose reward is the share of six edges with a wanted operation, plus noise.

    Left: mean reward of each update. The controller (blue) learns from rewards alone; random proposals (gray) stay near
    one third. Right: how often each operation stands on each edge among the last 80 children; red squares mark the
    wanted ones. Edge 0, 3 is still undecided.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    wanted = jnp.array([2, 1, 2, 0, 1, 2])

    def reward(key, architecture):
        return (architecture == wanted).mean() + 0.05 * jax.random.normal(key)

    updates, children = 60, 8
    for rate, color, style, label in ((0.0, GRAY, "--", "random"), (0.02, BLUE, "-", "controller")):
        search = reinforce_search(jax.random.key(0), reward, updates=updates, children=children, learning_rate=rate)
        left.plot(1 + np.arange(updates), search.rewards.reshape(updates, -1).mean(1), style, color=color, label=label)
    left.set(xlabel="update", ylabel="reward", ylim=(0, 1.1))
    left.legend(frameon=False, fontsize=8)
    share = np.asarray(jax.nn.one_hot(search.architectures[-80:], 3).mean(0)).T
    image = right.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    right.plot(range(6), wanted, "s", color=VERMILION, markersize=22, markerfacecolor="none")
    right.set(xticks=range(6), yticks=range(3), xlabel="edge (from node, to node)")
    right.set_xticklabels([f"{i}, {j}" for i, j in EDGES])
    right.set_yticklabels(OPERATIONS)
    figure.colorbar(image, ax=right, label="share of children")
    return figure
