"""Figure of dlcore.classical_vision.stereo; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.stereo import block_matching, disparity_to_depth
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["stereo"]


def stereo() -> "Figure":
    """A random texture with a square of 6 pixels of disparity before a plane of 2, matched with two windows.

    Small windows match noise; large ones are smooth but round off the square's corners. White pixels failed the check
    of both directions, most of them left of the square, where the right image hides the plane. Right: an error of half
    a pixel costs more depth the farther a point is.
    """
    figure, axes = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.5))
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:64, :64]
    truth = np.where((abs(row - 32) < 14) & (abs(column - 34) < 14), 6, 2)
    left_image = rng.random((64, 64))
    right_image = rng.random((64, 64))
    for disparity in (2, 6):  # the nearer surface is drawn last, and hides the other
        r, c = np.nonzero((truth == disparity) & (column >= disparity))
        right_image[r, c - disparity] = left_image[r, c]
    left_image, right_image = (
        jnp.asarray(x + rng.normal(0, 0.15, x.shape), jnp.float32) for x in (left_image, right_image)
    )
    axes[0].imshow(truth, cmap="viridis", vmin=0, vmax=8)
    axes[0].set(xticks=[], yticks=[], xlabel="true disparity")
    for ax, window in zip(axes[1:], (3, 11), strict=False):
        found = block_matching(left_image, right_image, 8, window)
        wrong = np.mean(np.abs(found.disparity - truth)[found.mask] > 1)
        ax.imshow(np.where(found.mask, found.disparity, np.nan), cmap="viridis", vmin=0, vmax=8)
        ax.set(xticks=[], yticks=[], xlabel=f"window {window}: {wrong:.0%} wrong")
    depth = np.linspace(1, 20, 50)
    for baseline, style, color in ((0.1, "--", VERMILION), (0.5, "-", BLUE)):
        disparity = 500 * baseline / depth
        near, far = (np.asarray(disparity_to_depth(disparity + e, 500.0, baseline)) for e in (0.5, -0.5))
        axes[3].plot(depth, (far - near) / 2, style, color=color, label=f"cameras {baseline} m apart")
    axes[3].set(xlabel="depth / m", ylabel="error of the depth / m")
    axes[3].legend(frameon=False, fontsize=8)
    return figure
