"""Figure of dlcore.video.flow_stack; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.video.flow_stack import flow_stack as stack
from dlcore.video.flow_stack import follow, subtract_mean_flow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["flow_stack"]


def flow_stack() -> "Figure":
    """Flow of a disk that turns by 12 degrees a frame, with a camera that pans to the right, over 10 frames.

    Left: the first field; middle: the same less its mean, which leaves the turn. Right: the stacked channels of one
    pixel of the disk. Read at one place they are constant; read along the trajectory (from the middle picture) they
    turn with the disk.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3, width_ratios=(1, 1, 1.4))
    row, column = np.mgrid[:32, :32] - 15.5
    angle, inside = np.radians(12), np.hypot(row, column) < 13
    turn = np.stack(
        [column * (np.cos(angle) - 1) - row * np.sin(angle), column * np.sin(angle) + row * (np.cos(angle) - 1)], -1
    )
    still = jnp.asarray(np.repeat((turn * inside[..., None])[None], 10, 0))
    panned = still + jnp.array([1.5, 0.0])
    for ax, field, name in ((left, panned, "with the pan"), (middle, subtract_mean_flow(panned), "less the mean")):
        ax.quiver(
            column[::4, ::4] + 15.5,
            row[::4, ::4] + 15.5,
            *np.moveaxis(np.asarray(field[0, ::4, ::4]), -1, 0),
            angles="xy",
            scale_units="xy",
            scale=0.8,
            color=BLUE,
        )
        ax.set(xticks=[], yticks=[], xlim=(-2, 34), ylim=(34, -2), aspect="equal", xlabel=name)
    path = np.asarray(follow(still, jnp.array([[24.0, 15.0]])))[:, 0]
    middle.plot(*path.T, ".-", color=VERMILION)
    for trajectories, style, color, name in (
        (False, "s--", GRAY, "at one place"),
        (True, "o-", VERMILION, "along the path"),
    ):
        channels = stack(still, subtract_mean=False, trajectories=trajectories)[15, 24]
        right.plot(range(1, 11), channels[::2], style, color=color, markersize=4, label=name)
    right.set(xlabel="frame", ylabel="motion to the right / pixels", ylim=(-2.3, 2.5))
    right.legend(frameon=False, loc="upper right")
    return figure
