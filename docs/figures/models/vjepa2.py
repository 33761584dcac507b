"""Figure of dlcore.models.vjepa2; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.models.vjepa2 import clip_angles
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vjepa2"]


def vjepa2() -> "Figure":
    """Rotary positions in time, rows and columns: mean cosine of the angles between one tubelet and all others.

    The tubelet is in the middle of a grid of 8 times and 16 x 16 places; each map is a later time. The cosine is
    largest at the tubelet and falls with the distance along each of the three axes, so that attention can tell near
    from far, in time as in space, without any learned table of positions.
    """
    figure, axes = new_figure((7, 2.3), 1, 4)
    angles = np.asarray(clip_angles((8, 16, 16), 66))
    angles = angles.reshape(8, 16, 16, -1)
    nearness = np.cos(angles - angles[2, 8, 8]).mean(-1)
    for ax, later in zip(axes, (0, 1, 2, 4), strict=True):
        image = ax.imshow(nearness[2 + later], vmin=0.5, vmax=1, cmap="viridis")
        ax.set_title(f"{later} later" if later else "same time", fontsize=9)
        ax.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, fraction=0.02)
    return figure
