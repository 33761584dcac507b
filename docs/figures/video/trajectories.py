"""Figure of dlcore.video.trajectories; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.video.trajectories import direction_votes, hof_votes, mbh_votes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["trajectories"]


def trajectories() -> "Figure":
    """Histograms of a flow field in which a disk moves down, without and with a camera that pans by 2 pixels a frame.

    Left: how a vector's length is spread over the eight directions as it turns. Middle: HOF, whose last bin counts
    still pixels; the pan changes it altogether. Right: MBH, of the flow's gradients, is the same with and without the
    pan.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    angle = np.linspace(0, 2 * np.pi, 181)
    votes = direction_votes(jnp.asarray(np.c_[np.cos(angle), np.sin(angle)]))
    for number, style in ((0, "-"), (1, "--"), (2, ":")):
        left.plot(np.degrees(angle), votes[:, number], style, color=BLUE, label=f"bin {number}")
    left.set(xlabel="direction / degrees", ylabel="vote", xticks=[0, 90, 180, 270, 360], ylim=(0, 1.1))
    left.legend(frameon=False, fontsize=8, loc="upper center")
    row, column = np.mgrid[:48, :48] - 23.5
    flow = jnp.asarray(np.where((np.hypot(row, column) < 12)[..., None], [0.0, 3.0], [0.0, 0.0]))
    for number, (pan, name, color) in enumerate((([0.0, 0.0], "still camera", BLUE), ([2.0, 0.0], "pan", VERMILION))):
        moved = flow + jnp.array(pan)
        for ax, histogram in ((middle, hof_votes(moved).mean((0, 1))), (right, mbh_votes(moved).mean((0, 1)))):
            ax.bar(
                np.arange(len(histogram)) + 0.4 * number,
                histogram,
                0.4,
                color=color,
                hatch="///" if number else "",
                label=name,
            )
    middle.set(xlabel="bin of HOF (8: still)", ylabel="mean vote", xticks=range(0, 9, 2), ylim=(0, 2.3))
    right.set(xlabel="bin of MBH", ylabel="mean vote", ylim=(0, 0.16))
    middle.legend(frameon=False, fontsize=8, loc="upper right")
    return figure
