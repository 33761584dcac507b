"""Figure of dlcore.segmentation.sliding_window; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.segmentation.sliding_window import gaussian_window, predict_volume, window_starts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sliding_window"]


def sliding_window() -> "Figure":
    """Why windows overlap and are weighted: a predictor that errs near the border of its window.

    Left: weights of a window of 16 voxels. Right: the error of the whole prediction (the right value is 0). Without
    overlap (red) every seam shows. With an overlap of one half and Gaussian weights (blue) each voxel counts most
    where it is near the center of a window, and the seams nearly vanish; the ends of the volume have no other window.
    """
    figure, (left, right) = new_figure((7, 2.6), 1, 2)
    center = np.asarray(gaussian_window((16, 1, 1))).reshape(-1)
    left.plot(np.arange(16), center, "o-", color=BLUE, markersize=3)
    left.set(xlabel="voxel of the window", ylabel="weight")
    border = jnp.maximum(0, 1 - jnp.minimum(jnp.arange(16), 15 - jnp.arange(16)) / 3.0)

    def predict(window):
        return jnp.zeros_like(window) + border.reshape(16, 1, 1, 1)

    volume = jnp.zeros((64, 1, 1, 1))
    for overlap, color, style in ((0.0, VERMILION, "--"), (0.5, BLUE, "-")):
        result = predict_volume(predict, volume, (16, 1, 1), overlap)
        count = len(window_starts((64, 1, 1), (16, 1, 1), overlap))
        right.plot(np.asarray(result).reshape(-1), style, color=color, label=f"overlap {overlap}: {count} windows")
    right.axhline(0, color=GRAY, linewidth=0.6)
    right.set(xlabel="voxel of the volume", ylabel="error", ylim=(-0.05, 1.6))
    right.legend(frameon=False, loc="upper center")
    return figure
