"""Figure of dlcore.classification.factorized_search; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.classification.factorized_search import CHOICES, multiply_adds
from dlcore.models.efficientnet import search_reward
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["factorized_search"]


def factorized_search() -> "Figure":
    """Cost by the operation of one block of three, and the reward that weighs accuracy against cost.

    Left: multiply-adds if one block has this operation and the others are separable; the first block, on the largest
    maps, matters most. Right: at twice the cost, an accuracy of 0.735 earns as much as 0.70 at the target (dotted).
    Exponent 0 (gray) ignores cost.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    base = np.tile([1, 0, 0, 1, 1, 1], (3, 1))
    for k, (name, color) in enumerate(zip(CHOICES.operation, (VERMILION, BLUE, GREEN), strict=True)):
        changed = np.repeat(base[None], 3, 0)
        changed[range(3), range(3), 0] = k
        costs = np.array(jax.vmap(lambda a: multiply_adds(a, 32))(changed.reshape(3, -1)))
        left.bar(np.arange(3) + 0.27 * (k - 1), costs / 1e6, 0.25, color=color, label=name)
    left.set(xticks=range(3), xlabel="block that has the operation", ylabel="million multiply-adds")
    left.legend(frameon=False, fontsize=8)
    ratios = np.linspace(0.25, 4, 100)
    for accuracy, color, style in ((0.70, BLUE, "-"), (0.735, VERMILION, "--")):
        right.plot(ratios, search_reward(accuracy, ratios, 1), style, color=color, label=f"accuracy {accuracy}")
    right.plot(ratios, search_reward(0.70, ratios, 1, 0.0), "-.", color=GRAY, label="0.7, exponent 0")
    right.axhline(0.70, color=GRAY, linestyle=":", linewidth=0.8)
    right.set(xlabel="cost / target", ylabel="reward")
    right.legend(frameon=False, fontsize=8)
    return figure
