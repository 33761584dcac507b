"""Figure of dlcore.segmentation.maskformer; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.segmentation.mask_losses import match_masks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["maskformer"]


def maskformer() -> "Figure":
    """Six queries are matched with the three true segments of an image, so that each segment trains one query.

    First: the truth, two disks and one square. Others: a query's mask and its probability of a disk; the outline is its
    segment. Of two queries on one disk only the better gets it, and the rest learn "no object", so that no mask comes
    twice.
    """
    figure, axes = new_figure((7.2, 1.6), 1, 7)
    true = np.stack([disk(12, 10, 7), disk(20, 24, 6), square(25, 8, 4)])
    masks = np.stack(
        [disk(21, 23, 6), disk(11, 11, 7), disk(13, 7, 6), square(24, 9, 4), disk(8, 22, 5), square(16, 16, 14)]
    )
    disks = np.array([0.9, 0.8, 0.7, 0.2, 0.5, 0.3])
    class_logits = jnp.log(jnp.asarray(np.stack([disks, 0.9 * (1 - disks), 0.1 * (1 - disks)], -1)))
    logits = np.where(masks, 4.0, -4.0).reshape(6, -1).T
    matched = np.asarray(
        match_masks(
            class_logits,
            jnp.asarray(logits),
            jnp.asarray(true.reshape(3, -1).T, jnp.float32),
            jnp.array([0, 0, 1]),
            jnp.ones(3, bool),
        )
    )
    colors = (BLUE, VERMILION, GREEN)
    axes[0].set_title("truth", fontsize=9)
    for ax, mask, chance in zip(axes[1:], masks, disks, strict=True):
        ax.imshow(mask, cmap="Greys", vmax=2)
        ax.set_title(f"disk {chance}", fontsize=9)
    for outline, query, color in zip(true, matched, colors, strict=True):
        axes[0].contourf(outline, [0.5, 1], colors=color)
        axes[1 + query].contour(outline, [0.5], colors=color, linewidths=1.5)
    axes[0].set(xlim=(-0.5, 31.5), ylim=(31.5, -0.5), aspect="equal")
    for query, ax in enumerate(axes[1:]):
        ax.set_xlabel(
            "matched" if query in matched else "no object", fontsize=9, color="black" if query in matched else GRAY
        )
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure


ROW, COLUMN = np.mgrid[:32, :32]


def disk(y: int, x: int, radius: int) -> np.ndarray:
    """Pixels [32, 32] of a disk."""
    return np.hypot(ROW - y, COLUMN - x) < radius


def square(y: int, x: int, half: int) -> np.ndarray:
    """Pixels [32, 32] of a square."""
    return np.maximum(abs(ROW - y), abs(COLUMN - x)) < half
