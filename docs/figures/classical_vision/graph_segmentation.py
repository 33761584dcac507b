"""Figure of dlcore.classical_vision.graph_segmentation; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.graph_segmentation import graph_segmentation as segment
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["graph_segmentation"]


def graph_segmentation() -> "Figure":
    """Regions of a photograph at three scales, each drawn in its mean color.

    A small scale splits sky and roofs into many regions; a large one joins what differs little. Large even areas stay
    whole at each scale, and fine detail survives in regions of their own.
    """
    figure, axes = new_figure((7.4, 1.9), 1, 4)
    image = sample_image("china", 96) / 255
    axes[0].imshow(image)
    axes[0].set(xticks=[], yticks=[], xlabel="photograph")
    for ax, scale in zip(axes[1:], (20, 150, 1000), strict=True):
        regions = segment(image, scale=scale)
        count = np.bincount(regions.ravel())
        mean = np.stack([np.bincount(regions.ravel(), image[..., c].ravel()) / count for c in range(3)], -1)
        ax.imshow(mean[regions])
        ax.set(xticks=[], yticks=[], xlabel=f"scale {scale}: {len(count)} regions")
    return figure
