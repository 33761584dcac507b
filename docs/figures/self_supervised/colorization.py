"""Figure of dlcore.self_supervised.colorization; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from dlcore.self_supervised.colorization import remove_colors
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["colorization"]


def colorization() -> "Figure":
    """What is removed, and how far one comes without recognizing anything.

    From left: the network's input; the mean color of all pixels of the same gray, the best answer from a pixel alone;
    the target. Right: their squared errors. Pixels of the same gray have different colors in the target, so the rest of
    the error takes recognition. The network learns what to add to the gray image.
    """
    figure, (first, second, third, right) = new_figure((7, 2.3), 1, 4, width_ratios=[1, 1, 1, 1.1])
    task = remove_colors(jax.random.key(0), square_photograph())
    level = np.digitize(np.asarray(task.input[..., 0]).ravel(), np.linspace(0, 1, 65))
    counts = np.maximum(np.bincount(level, minlength=66), 1)
    target = np.asarray(task.target)
    means = [np.bincount(level, target[..., c].ravel(), minlength=66) / counts for c in range(3)]
    by_level = np.stack(means, -1)[level].reshape(target.shape)
    show_image(first, task.input, "input")
    show_image(second, by_level, "color by gray level")
    show_image(third, target, "target")
    errors = [1000 * float(np.square(np.asarray(answer) - target).mean()) for answer in (task.trivial, by_level)]
    right.bar(["gray", "by level"], errors, color=[GRAY, BLUE], width=0.6)
    right.set(ylabel="squared error / 0.001")
    return figure
