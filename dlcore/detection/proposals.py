"""Regions of an image that may hold an object, for detectors that propose none themselves.

data=BoxImages("scenes", proposals=RegionProposals(max_proposals=60))
"""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.detection.anchor_recall import recall_note
from dlcore.learner import Range, check_record

__all__ = ["RegionProposals", "WindowProposals"]


class WindowProposals:
    """Windows of the detector's `scales` and `aspect_ratios` all over the image, the same for each image."""

    def add(self, source: Source, run: Any) -> Source:
        """Add the windows to the arrays of a split.

        Args:
          source: images.
          run: the run.

        Returns:
          The images with `proposals: [N, L, 4]`, corners in pixels, and `proposal_mask: [N, L]`.
        """
        count, height, width = source.arrays["image"].shape[:3]
        windows = _windows((height, width), run)
        arrays = {
            "proposals": np.broadcast_to(windows, (count, *windows.shape)),
            "proposal_mask": np.ones((count, len(windows)), bool),
        }
        return dataclasses.replace(source, arrays={**source.arrays, **arrays})

    def message(self, splits: Splits, run: Any) -> str:
        """Say how many training boxes the windows find at best.

        Args:
          splits: the data.
          run: the run.

        Returns:
          The sentence.
        """
        return recall_note("windows", _windows(tuple(splits.spec["image_shape"][:2]), run), splits)


def _windows(size: tuple[int, int], run: Any) -> np.ndarray:
    from dlcore.detection.fast_rcnn import window_proposals

    network = run.parts.network.build(1)
    return window_proposals(size, scales=network.scales, aspect_ratios=network.aspect_ratios)


@dataclasses.dataclass(frozen=True)
class RegionProposals:
    """Regions of selective search.

    Args:
      max_proposals: regions of an image at most
      segmentation_scales: scales of the segmentations that selective search starts from
    """

    max_proposals: Annotated[int, Range(1)] = 60
    segmentation_scales: tuple[float, ...] = (50.0, 100.0)

    def __post_init__(self):
        check_record(self)

    def add(self, source: Source, run: Any = None) -> Source:
        """Add the regions of each image to the arrays of a split.

        Args:
          source: images.
          run: not used.

        Returns:
          The images with `proposals: [N, max_proposals, 4]`, corners in pixels, and `proposal_mask`.
        """
        from dlcore.detection.selective_search import propose

        images, scales = source.arrays["image"], self.segmentation_scales
        proposals = propose(images, self.max_proposals, spaces=("lab",), scales=scales)
        return dataclasses.replace(source, arrays={**source.arrays, **proposals})

    def message(self, splits: Splits, run: Any = None) -> str:
        """Say how many training boxes the regions find.

        Args:
          splits: the data, with proposals.
          run: not used.

        Returns:
          The sentence.
        """
        from dlcore.ops.boxes import box_iou

        arrays = splits.train.arrays
        rows = zip(*(arrays[name] for name in ("boxes", "box_mask", "proposals")), strict=True)
        best = [np.asarray(box_iou(boxes[mask], regions)).max(1) for boxes, mask, regions in rows if mask.any()]
        recall = float((np.concatenate(best) >= 0.5).mean()) if best else 0.0
        count = arrays["proposal_mask"].sum(1).mean()
        return f"the regions find {100 * recall:.1f} % of the training boxes, {count:.0f} each"
