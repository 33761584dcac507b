"""Figure of dlcore.segmentation.mask_queries; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import new_figure
from dlcore.segmentation.mask_queries import panoptic_segments, semantic_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mask_queries"]


def mask_queries() -> "Figure":
    """Four queries become maps: the masks of the queries, and what the semantic and the panoptic reading make of them.

    Titles tell the class and its probability. Two disks of one class overlap: the semantic map joins them, and the
    panoptic map keeps two segments, because each pixel goes to the surest query. The unsure last query takes no part
    in the panoptic map.
    """
    figure, axes = new_figure((7, 1.7), 1, 6)
    row, column = np.mgrid[:32, :32]
    disks = [np.hypot(row - y, column - x) < r for y, x, r in ((14, 11, 8), (16, 21, 8), (26, 6, 4))]
    masks = np.stack([~(disks[0] | disks[1]), *disks], -1)
    mask_logits = jnp.asarray(np.where(masks, 5.0, -5.0), jnp.float32)
    class_logits = jnp.log(jnp.array([[0.96, 0.02, 0.02], [0.02, 0.95, 0.03], [0.05, 0.9, 0.05], [0.02, 0.45, 0.53]]))
    titles = ("stuff 0.96", "thing 0.95", "thing 0.90", "thing 0.45")
    for ax, title, mask in zip(axes, titles, np.moveaxis(masks, -1, 0), strict=False):
        ax.imshow(mask, cmap="Greys", vmin=0, vmax=1.5)
        ax.set_title(title, fontsize=8)
    axes[4].imshow(np.asarray(semantic_scores(class_logits, mask_logits)).argmax(-1), cmap="viridis", vmin=0, vmax=2)
    axes[4].set_title("semantic", fontsize=8)
    axes[5].imshow(np.asarray(panoptic_segments(class_logits, mask_logits, 1)[0]), cmap="viridis")
    axes[5].set_title("panoptic", fontsize=8)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure
