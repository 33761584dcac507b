"""Figure of dlcore.video.tracking; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import PALETTE, new_figure
from dlcore.video.tracking import byte_track, sort_track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["tracking"]


def tracking() -> "Figure":
    """Identities of two objects that pass each other; one has low scores (0.3) in frames 14 to 20 (gray).

    SORT (left) ignores detections with a low score. Its track coasts through the gap by the Kalman filter, so no box
    is reported there. ByteTrack (right) gives low scores to tracks that exist already: its track goes on without a
    gap, and no false box starts a track of its own. Colors and markers are identities.
    """
    figure, axes = new_figure((7, 2.6), 1, 2, sharey=True)
    frames = np.arange(32)
    x = np.stack([10 + 3.0 * frames, 106 - 3.0 * frames], -1)
    y = np.stack([np.full(32, 20.0), np.full(32, 44.0)], -1)
    boxes = jnp.asarray(np.stack([x - 8, y - 8, x + 8, y + 8], -1), jnp.float32)
    scores = np.full((32, 2), 0.9, np.float32)
    scores[14:21, 0] = 0.3
    for ax, track, title in ((axes[0], sort_track, "SORT"), (axes[1], byte_track, "ByteTrack")):
        tracks = track(boxes, jnp.asarray(scores))
        ids, found = np.asarray(tracks.ids), np.asarray(tracks.boxes)
        for k, identity in enumerate(np.unique(ids[ids >= 0])):
            frame, slot = np.nonzero(ids == identity)
            center = (found[frame, slot, 0] + found[frame, slot, 2]) / 2
            ax.plot(frame, center, "os^v"[k % 4], color=PALETTE[k], markersize=3, label=f"identity {identity}")
        ax.axvspan(13.5, 20.5, color="gray", alpha=0.15, linewidth=0)
        ax.set(xlabel="frame")
        ax.set_title(title, fontsize=9)
    axes[0].set(ylabel="x (pixels)")
    axes[0].legend(frameon=False, fontsize=8)
    return figure
