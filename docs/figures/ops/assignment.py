"""Figure of dlcore.ops.assignment; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.ops.assignment import assign
from dlcore.report.figure import PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["assignment"]


def assignment() -> "Figure":
    """Eight targets (circles) and twelve predictions (dots): the distances, and who gets whom.

    The assignment of least total distance beats the greedy one, which gives each target in turn the nearest prediction
    that is left: the greedy one saves a little at first and pays at the end.
    """
    figure, (left, right) = new_figure((7, 3.2), 1, 2, width_ratios=(1, 1.2))
    rng = np.random.default_rng(0)
    targets, predictions = rng.random((8, 2)), rng.random((12, 2))
    cost = np.linalg.norm(predictions[:, None] - targets, axis=-1)
    best, greedy = np.asarray(assign(jnp.asarray(cost))), []
    for column in range(8):
        greedy.append(min(set(range(12)) - set(greedy), key=lambda row, column=column: cost[row, column]))
    image = left.imshow(cost, cmap="Greys")
    figure.colorbar(image, ax=left, label="distance", shrink=0.9)
    left.plot(range(8), greedy, "x", color=VERMILION, markersize=9)
    left.plot(range(8), best, "o", color=PALETTE[0], markersize=6, markerfacecolor="none", markeredgewidth=2)
    left.set(xlabel="target", ylabel="prediction")
    for rows, color, style, name in ((greedy, VERMILION, "--", "greedy"), (best, PALETTE[0], "-", "least total")):
        for column, row in enumerate(rows):
            label = f"{name}: {cost[rows, range(8)].sum():.2f}" if column == 0 else None
            right.plot(*zip(targets[column], predictions[row], strict=True), style, color=color, label=label)
    right.plot(*predictions.T, "o", color="black", markersize=4)
    right.plot(*targets.T, "o", color="black", markersize=9, markerfacecolor="none")
    right.set(xlabel="x", ylabel="y", ylim=(None, 1.25))
    right.legend(frameon=False, loc="upper center", ncols=2)
    return figure
