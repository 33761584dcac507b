"""Figure of dlcore.metrics.surface_distance; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.metrics.surface_distance import mean_surface_distance, surface_dice
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["surface_distance"]


def surface_distance() -> "Figure":
    """Two errors with the same Dice: a ball that is 1 voxel too thick (left), and one with a distant spot (middle).

    Slices through the middle; the outline is the true ball. Right: overlap (Dice) cannot tell them apart. The mean
    distance of the surfaces can: a distant spot is far from the true surface. The surface Dice counts the share of
    both surfaces within 1.5 voxels, which the shell nearly keeps.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3, width_ratios=[1, 1, 1.4])
    grid = np.stack(np.mgrid[:40, :40, :40], -1)
    ball = np.linalg.norm(grid - [20, 20, 15], axis=-1) < 9
    shell = np.linalg.norm(grid - [20, 20, 15], axis=-1) < 10
    extra = int(shell.sum() - ball.sum())
    distance = np.linalg.norm(grid - [20, 20, 32.0], axis=-1)
    spot = ball | (distance <= np.sort(distance[~ball])[extra - 1])
    for ax, prediction in ((left, shell), (middle, spot)):
        ax.imshow(prediction[20], cmap="Greys", vmin=0, vmax=2)
        ax.contour(ball[20], [0.5], colors="black", linewidths=1)
        ax.set(xticks=[], yticks=[])
    names = ("Dice", "distance", "surface Dice")
    for shift, prediction, color, label in ((-0.2, shell, BLUE, "shell"), (0.2, spot, VERMILION, "spot")):
        dice = 2 * (prediction & ball).sum() / (prediction.sum() + ball.sum())
        values = dice, mean_surface_distance(prediction, ball), surface_dice(prediction, ball, 1.5)
        right.bar(np.arange(3) + shift, values, 0.4, color=color, label=label)
    right.set_xticks(range(3), names, fontsize=7)
    right.set(ylabel="score, or voxels")
    right.legend(frameon=False)
    return figure
