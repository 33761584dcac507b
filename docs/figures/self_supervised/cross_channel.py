"""Figure of dlcore.self_supervised.cross_channel; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from dlcore.self_supervised.cross_channel import hidden_channel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cross_channel"]


def cross_channel() -> "Figure":
    """A hidden red channel, and how much of each channel the other two give away.

    Left: the input, with the mean of green and blue in place of red. Middle: what the network must add to this mean.
    Right: the error of the mean for each hidden channel of two photographs. For green the mean of the others is nearly
    right, and there is least to learn.
    """
    figure, (left, middle, right) = new_figure((7, 2.6), 1, 3, width_ratios=[1, 1.15, 1.1])
    photos = [jnp.asarray(sample_image(name, 224) / 255) for name in ("china", "flower")]
    task = hidden_channel(photos[0][:, 40:264], 0)
    show_image(left, task.input, "input")
    added = show_image(middle, (task.target - task.trivial)[..., 0], "to be added", cmap="RdBu_r", vmin=-0.5, vmax=0.5)
    figure.colorbar(added, ax=middle, shrink=0.75)
    for photo, shift, color, label in zip(photos, (-0.2, 0.2), (BLUE, GRAY), ("pagoda", "flower"), strict=True):
        tasks = [hidden_channel(photo, channel) for channel in range(3)]
        errors = [1000 * float(jnp.square(task.target - task.trivial).mean()) for task in tasks]
        right.bar(np.arange(3) + shift, errors, 0.38, color=color, label=label)
    right.set(ylabel="error of the mean / 0.001", xlabel="hidden channel")
    right.set_xticks(range(3), ["red", "green", "blue"])
    right.legend(frameon=False, fontsize=8)
    return figure
