"""Figure of dlcore.vision3d.affine_depth; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.solids import rgbd_scenes
from dlcore.losses import scale_and_shift_invariant_loss
from dlcore.metrics.depth import align_scale_and_shift
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["affine_depth"]


def affine_depth() -> "Figure":
    """Two predictions of one scene's disparity, before and after the fit of a scale and a shift.

    Left: the image and its depth. Right: predicted against true disparity, one dot a pixel. The blue prediction has
    another factor and offset; the line that fits it makes it exact, and its loss is 0. The red one is the square of the
    disparity: no line repairs it, and the loss counts what is left.
    """
    scene = rgbd_scenes(1, 3, 48).arrays
    image, depth = scene["image"][0], scene["depth"][0]
    targets = 1 / depth
    wrong = targets**2 / targets.mean()
    figure, (picture, map_axes, before, after) = new_figure((9.2, 2.6), 1, 4)
    show_image(picture, image, "image")
    show_image(map_axes, depth, "depth", cmap="viridis")
    for prediction, color, name in ((0.5 * targets + 0.2, BLUE, "affine"), (wrong, VERMILION, "squared")):
        maps = jnp.asarray(prediction)[None], jnp.asarray(targets)[None]
        loss = float(scale_and_shift_invariant_loss(*maps)[0])
        aligned = np.asarray(align_scale_and_shift(*maps)[0])
        before.plot(targets.ravel()[::7], prediction.ravel()[::7], ".", color=color, markersize=2, label=name)
        after.plot(targets.ravel()[::7], aligned.ravel()[::7], ".", color=color, markersize=2, label=f"loss {loss:.4f}")
    limits = targets.min(), targets.max()
    for axes, title in ((before, "as predicted"), (after, "after the fit")):
        axes.plot(limits, limits, color=GRAY, linewidth=1, zorder=0)
        axes.set(xlabel="true disparity", title=title)
        axes.legend(frameon=False, fontsize=8, markerscale=4)
    return figure
