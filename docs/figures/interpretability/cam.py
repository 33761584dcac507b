"""Figure of dlcore.interpretability.cam; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.hog import cell_histograms
from dlcore.data.sample_images import sample_image
from dlcore.interpretability.cam import class_activation_map, resize_map
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cam"]


def cam() -> "Figure":
    """Class activation maps of a head on the mean of a map of 12 x 12 cells (strengths of edges in nine directions).

    The weights of class A are 1 for horizontal edges and -1 for vertical ones; those of class B are the opposite. Blue
    places speak for a class and red ones against it. Right: the mean of the map is the class's score, for 12 crops, so
    that the map divides the score among places.
    """
    figure, (left, *axes, right) = new_figure((7.4, 2.4), 1, 4, width_ratios=(1, 1, 1, 1.3))
    photograph = sample_image("china", 160).astype(np.float32) / 255
    crops = jnp.asarray(np.stack([photograph[r : r + 96, c : c + 96] for r in (0, 30, 60) for c in (0, 48, 96, 140)]))
    features = cell_histograms(crops, 9, 8)
    direction = 2 * np.pi * (np.arange(9) + 0.5) / 9
    kernel = jnp.asarray(np.stack([-np.cos(direction), np.cos(direction)], 1), jnp.float32)
    left.imshow(crops[4])
    left.set(xticks=[], yticks=[], xlabel="crop")
    logits = features.mean((1, 2)) @ kernel
    for label, (ax, color, marker) in enumerate(zip(axes, (BLUE, VERMILION), ("o", "^"), strict=True)):
        values = class_activation_map(features, kernel, jnp.full(12, label))
        large = resize_map(values, (96, 96))[4]
        ax.imshow(large, cmap="RdBu", vmin=-abs(large).max(), vmax=abs(large).max())
        ax.set(xticks=[], yticks=[], xlabel=f"class {'AB'[label]}")
        right.scatter(
            logits[:, label], values.mean((1, 2)), s=14, color=color, marker=marker, label=f"class {'AB'[label]}"
        )
    right.axline((0, 0), slope=1, color="k", linewidth=0.6)
    right.set(xlabel="score", ylabel="mean of the map")
    right.legend(frameon=False, fontsize=8)
    return figure
