"""Figure of dlcore.segmentation.promptable; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.segmentation.clicks import place_click

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["promptable"]


def promptable() -> "Figure":
    """Where the simulated user clicks: in the middle of the largest error of a mask.

    The outline is the true object. Left: nothing is predicted, so the click (blue, "object") goes to its center.
    Middle: half of it is found, and the click goes to the missing half. Right: the prediction covers too much, and
    the click says "background" (red). Clicks near a border are avoided, as a person would.
    """
    figure, axes = new_figure((7, 2.4), 1, 3)
    row, column = np.mgrid[:48, :48]
    target = (np.abs(row - 24) < 12) & (np.abs(column - 22) < 16)
    too_large = target | ((np.abs(row - 24) < 9) & (column >= 22) & (column < 47))
    predictions = np.stack([np.zeros_like(target), target & (column < 20), too_large])
    points, labels = place_click(jnp.asarray(predictions), jnp.asarray(np.broadcast_to(target, (3, 48, 48))))
    points, labels = np.asarray(points).reshape(3, 2), np.asarray(labels).reshape(3)
    for ax, predicted, (x, y), label in zip(axes, predictions, points, labels, strict=True):
        ax.imshow(predicted, cmap="Greys", vmin=0, vmax=2.5)
        ax.contour(target, [0.5], colors="black", linewidths=1)
        ax.plot(x, y, "*", color=BLUE if label > 0 else VERMILION, markersize=12)
        ax.set(xticks=[], yticks=[])
    return figure
