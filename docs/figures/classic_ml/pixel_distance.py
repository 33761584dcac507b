"""Figure of dlcore.classic_ml.pixel_distance; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.pixel_distance import contrast, equal_edits
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pixel_distance"]


def pixel_distance() -> "Figure":
    """Left: relative contrast of the distances from one random point to 1,000 others in a cube.

    The farthest of them is a hundred times as far as the nearest in few dimensions, and hardly farther in thousands,
    by either norm. Right: a photograph and three edits of it at exactly the same Euclidean distance, one of which
    hides a large part of it.
    """
    figure, (left, *axes) = new_figure((7.4, 2.4), 1, 5, width_ratios=(1.9, 1, 1, 1, 1))
    rng, dims = np.random.default_rng(0), (2, 5, 10, 30, 100, 300, 1000, 3000)
    for order, style, color in ((2, "o-", BLUE), (1, "s--", VERMILION)):
        values = [np.mean([contrast(rng.random((1000, d)), rng.random(d), order) for _ in range(2)]) for d in dims]
        left.loglog(dims, values, style, color=color, markersize=4, label=f"L{order}")
    left.set(xlabel="dimensions", ylabel="(farthest - nearest) / nearest")
    left.legend(frameon=False)
    image = sample_image("china", 48)[:, 12:60] / 255
    pictures = {"original": image, **equal_edits(image, shift=1)}
    for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(picture)
        ax.set(xticks=[], yticks=[], xlabel=f"{name}\n{np.sqrt(((picture - image) ** 2).sum()):.2f} away")
    return figure
