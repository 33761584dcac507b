"""Figure of dlcore.self_supervised.inpainting; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np
from scipy.ndimage import distance_transform_edt

from dlcore.report.figure import GRAY, VERMILION, new_figure, show_image
from dlcore.self_supervised.inpainting import hole
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inpainting"]


def inpainting() -> "Figure":
    """A hole, filled with the mean of what is left, and how deep the border helps.

    Left: the input; the loss counts the hole alone. Right: error of a pixel of the hole by its distance to the border,
    mean of 40 holes. The nearest visible pixel (red) is good near the border, and worse than the mean (gray) beyond 45
    pixels. Deep in a large hole the network must know what belongs there.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=[1, 1.5])
    photo = square_photograph()
    draw = jax.jit(lambda key: hole(key, photo, 0.5))
    show_image(left, draw(jax.random.key(3)).input, "input")
    distances, copied, mean = [], [], []
    for key in jax.random.split(jax.random.key(0), 40):
        task = draw(key)
        inside = np.asarray(task.weight) > 0
        distance, (rows, columns) = distance_transform_edt(inside, return_indices=True)
        distances.append(distance[inside])
        copied.append(np.square(photo[rows, columns] - photo).mean(-1)[inside])
        mean.append(np.square(np.asarray(task.trivial) - photo).mean(-1)[inside])
    steps = np.concatenate(distances).astype(int) // 4
    counts = np.bincount(steps)
    for errors, color, style, label in ((mean, GRAY, "--", "mean"), (copied, VERMILION, "-", "nearest visible pixel")):
        curve = np.bincount(steps, np.concatenate(errors)) / counts
        right.plot(4 * np.arange(len(curve)) + 2, curve, style, color=color, label=label)
    right.set(xlabel="distance to the border (pixels)", ylabel="squared error", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure
