"""Figure of dlcore.classical_vision.hog; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.hog import cell_histograms
from dlcore.classical_vision.hog import hog as describe
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["hog"]


def hog() -> "Figure":
    """Left: a photograph and the histogram of each cell of 8 pixels, as strokes along edges, the longer the stronger.

    Right: distance of the descriptor from that of the first image, relative to its length, as the image gets darker or
    is moved. The norm of the blocks cancels the change of light almost entirely; a shift by half a cell changes the
    descriptor a lot.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3, width_ratios=(1, 1, 1.3))
    image = jnp.asarray(sample_image("china", 112)[8:104, 24:120] / 255, jnp.float32)
    cells = np.asarray(cell_histograms(image[None])[0])
    left.imshow(image)
    middle.imshow(np.ones_like(image))
    for row, column, bin_ in np.ndindex(cells.shape):
        angle = np.pi * (bin_ + 0.5) / 9 + np.pi / 2  # an edge is perpendicular to its gradient
        reach = 4 * cells[row, column, bin_] / cells.max() * np.array([np.cos(angle), np.sin(angle)])
        x, y = 8 * column + 3.5, 8 * row + 3.5
        middle.plot([x - reach[0], x + reach[0]], [y - reach[1], y + reach[1]], color=BLUE, linewidth=0.8)
    for ax in (left, middle):
        ax.set(xticks=[], yticks=[])
    steps = np.arange(9)
    for images, name, style, color in (
        (jnp.stack([image * (1 - 0.08 * s) for s in steps]), "darker by 8 % a step", "o-", BLUE),
        (jnp.stack([jnp.roll(image, int(s), 1) for s in steps]), "moved by 1 pixel a step", "s--", VERMILION),
    ):
        features = describe(images)
        features = np.asarray(features).reshape(9, -1)
        distance = np.linalg.norm(features - features[0], axis=1) / np.linalg.norm(features[0])
        right.plot(steps, distance, style, color=color, markersize=4, label=name)
    right.set(xlabel="steps", ylabel="relative distance", ylim=(-0.03, 1.2))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
