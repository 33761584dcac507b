"""Tracks in a report: a film strip whose boxes have the color and the number of their track."""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.report.detection import draw_boxes

__all__ = ["film_strip"]


def film_strip(clip: np.ndarray, boxes: np.ndarray, ids: np.ndarray, count: int = 6, scale: int = 2) -> np.ndarray:
    """Draw evenly spaced frames of a clip side by side, each box in the color of its track and with its number.

    Args:
      clip: uint8 [F, H, W, 3].
      boxes: [F, D, 4] (x0, y0, x1, y1) in pixels.
      ids: [F, D] int, the track of each box; -1 for no box.
      count: number of frames of the strip.
      scale: factor by which frames are enlarged.

    Returns:
      uint8 [H * scale, count * (W * scale + 4) - 4, 3], the frames with 4 white pixels between them.
    """
    if not len(clip) == len(boxes) == len(ids):
        raise ValueError(f"boxes={len(boxes)} frames, ids={len(ids)}: clip has {len(clip)}; allowed: as many")
    check_shapes(clip=(clip, "F H W 3"), boxes=(boxes, "F D 4"), ids=(ids, "int F D"))
    check_whole_number("scale", scale, 1)
    check_whole_number("count", count)
    if not 1 <= count <= len(clip):
        raise ValueError(f"count={count}: out of range; allowed: 1 to {len(clip)}, the frames of the clip")
    names = [str(number) for number in range(int(np.max(ids, initial=0)) + 1)]
    gap = np.full((scale * clip.shape[1], 4, 3), 255, np.uint8)
    pictures = []
    for f in np.linspace(0, len(clip) - 1, count).round().astype(int):
        valid = np.asarray(ids[f]) >= 0
        pictures += [
            gap,
            draw_boxes(clip[f], np.asarray(boxes[f])[valid], np.asarray(ids[f])[valid], names, scale=scale),
        ]
    return np.concatenate(pictures[1:], 1)
