"""Figure of dlcore.data.clip_sampling; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.clip_sampling import clip_indices, clip_start, view_starts
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clip_sampling"]


def clip_sampling() -> "Figure":
    """Frames of clips of 8 frames, 4 apart: dots are frames that are decoded, and gray bars are videos.

    Left: a video of 100 frames in six epochs of training, each from a random start, and in testing by five clips that
    cover it evenly. Right: a video of 20 frames is too short; each frame of the clip is drawn with its index in the
    video, which starts again or stays at the last.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2, width_ratios=(1.6, 1))
    length, stride, frames = 8, 4, 100
    span = stride * (length - 1) + 1
    starts = {f"epoch {epoch}": clip_start(0, epoch, 0, frames, span) for epoch in range(6)}
    starts |= {f"test clip {view}": start for view, start in enumerate(view_starts(5, frames, span))}
    for row, (name, start) in enumerate(starts.items()):
        left.plot([0, frames - 1], [row, row], color=GRAY, linewidth=6, alpha=0.25, solid_capstyle="butt")
        color = BLUE if name.startswith("epoch") else VERMILION
        left.plot(clip_indices(start, length, stride, frames), np.full(length, row), ".", color=color)
    left.set(xlabel="frame of the video", yticks=range(len(starts)), yticklabels=list(starts))
    left.invert_yaxis()
    for short, color, marker in (("loop", GREEN, "o-"), ("clamp", VERMILION, "s--")):
        right.plot(clip_indices(0, length, stride, 20, short), marker, color=color, label=short, markersize=4)
    right.axhline(19, color=GRAY, linewidth=0.8)
    right.set(xlabel="frame of the clip", ylabel="frame of the video", ylim=(-1, 27), yticks=[0, 10, 19])
    right.legend(frameon=False, loc="upper left", ncols=2)
    return figure
