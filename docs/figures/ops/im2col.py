"""Figure of dlcore.ops.im2col; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.ops.im2col import col2im
from dlcore.ops.im2col import im2col as copy_windows
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["im2col"]


def im2col() -> "Figure":
    """Left: an image of 5 x 5 pixels with a window of 3 x 3; middle: all windows as the rows of a matrix.

    A convolution is then one product of this matrix with the kernel. The frame marks the same window in both. Right:
    adding rows of ones back shows how often each pixel is copied, once in a corner and nine times in the center.
    """
    figure, (left, middle, right) = new_figure((7, 2.7), 1, 3)
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    rows = copy_windows(x, 3)
    left.imshow(x[0, :, :, 0], cmap="viridis")
    left.add_patch(Rectangle((0.5, 0.5), 3, 3, fill=False, color=VERMILION, linewidth=2))
    middle.imshow(rows.reshape(9, 9), cmap="viridis")
    middle.add_patch(Rectangle((-0.5, 3.5), 9, 1, fill=False, color=VERMILION, linewidth=2))
    counts = np.asarray(col2im(jnp.ones_like(rows), (5, 5), 3))[0, :, :, 0]
    right.imshow(counts, cmap="Blues", vmin=0, vmax=14)
    for (row, column), count in np.ndenumerate(counts):
        right.text(column, row, f"{count:g}", ha="center", va="center", fontsize=9)
    for ax, name in ((left, "image"), (middle, "pixel of the window"), (right, "copies of each pixel")):
        ax.set(xticks=[], yticks=[], xlabel=name)
    middle.set_ylabel("window")
    return figure
