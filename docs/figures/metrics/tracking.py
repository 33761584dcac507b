"""Figure of dlcore.metrics.tracking; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.metrics.tracking import clear_mot, hota, idf1
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["tracking"]


def tracking() -> "Figure":
    """Measures of two tracks over 40 frames, whose identities are wrong (left) or whose boxes are missing (right).

    Left: the tracks exchange their identities once, at a frame. MOTA counts two errors whenever that occurs; IDF1 and
    HOTA are lowest in the middle of the clip. Right: no identity is wrong, and a share of the boxes is missing. MOTA
    falls as fast as this share rises, and HOTA lies exactly on MOTA.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, sharey=True)
    frames, ids = np.arange(40), np.tile([0, 1], (40, 1))
    boxes = np.stack(
        [np.stack([x := 3.0 * frames, x * 0 + 60 * n, x + 20, x * 0 + 60 * n + 20], -1) for n in (0, 1)], 1
    )
    switched, missing = np.arange(1, 40), np.arange(0, 40, 2)
    inputs = [np.where(frames[:, None] >= frame, 1 - ids, ids) for frame in switched]
    removed = [np.where((frames[:, None] >= 40 - count) & (ids >= 0), -1, ids) for count in missing]
    for ax, x, versions in ((left, switched, inputs), (right, missing / 40, removed)):
        rows = [(boxes, ids, boxes, version) for version in versions]
        ax.plot(x, [clear_mot(*row).mota for row in rows], "-", color=BLUE, label="MOTA")
        ax.plot(x, [idf1(*row) for row in rows], "--", color=VERMILION, label="IDF1")
        ax.plot(x, [hota(*row).hota for row in rows], ":", color=GREEN, label="HOTA", linewidth=2)
    left.set(xlabel="frame of the exchange", ylabel="measure", ylim=(0, 1.03))
    right.set(xlabel="share of the boxes missing")
    right.legend(frameon=False, loc="lower left")
    return figure
