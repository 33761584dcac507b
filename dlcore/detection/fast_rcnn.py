"""Fast R-CNN: given proposals are cropped from maps that the backbone computes once an image.

Girshick 2015, arXiv:1504.08083.

    L = 1/R sum_r CE(s_r, c_r) + 1/R sum_{r on an object} smoothL1(t_r[c_r], t*_r; 1/9)

It is the second stage of `dlcore.detection.faster_rcnn` (with RoIAlign; `pool="roi_pool"` is the paper's), and learns
by `dlcore.detection.two_stage.learner` on batches with `proposals` and `proposal_mask`. They may come from any method;
`window_proposals` has the plainest, windows of a few sizes all over the image.
"""

from collections.abc import Sequence

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.detection.anchors import Anchors
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.ops.checks import check_size

__all__ = ["FastRCNN", "window_proposals"]


class FastRCNN(FasterRCNN):
    """Backbone, pyramid and heads, without a region proposal network; the fields are those of `FasterRCNN`."""

    given_proposals = True


def window_proposals(
    size: tuple[int, int],
    strides: Sequence[int] = (8, 16),
    scales: Sequence[float] = (2.0, 2.5, 3.0),
    aspect_ratios: Sequence[float] = (1.0,),
) -> np.ndarray:
    """Lay windows over an image, and clip them to it.

    Args:
      size: (height, width) in pixels, multiples of the first stride.
      strides: pixels between two windows, doubling from each to the next.
      scales: sides of the windows, in strides.
      aspect_ratios: height over width of the windows.

    Returns:
      [P, 4] float32 corners in pixels.
    """
    check_size("size", size)
    for stride in strides:
        check_whole_number("strides", stride, 1)
    if not len(strides) or any(stride != strides[0] * 2**i for i, stride in enumerate(strides)):
        raise ValueError(f"strides={tuple(strides)}: do not double; allowed: at least one, each twice the one before")
    height, width = size
    anchors = Anchors.of([(height // s, width // s) for s in strides], size, scales, aspect_ratios)
    return np.clip(anchors.boxes, 0, np.array([width, height, width, height], np.float32))
