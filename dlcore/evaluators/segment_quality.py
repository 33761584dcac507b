"""Panoptic quality, beside the mAP of masks."""

from typing import ClassVar

from dlcore.data.splits import Splits
from dlcore.evaluators import box_measures, segment_results
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.weights import segment_networks

__all__ = ["SegmentQuality"]


class SegmentQuality:
    """Panoptic quality, and COCO's mAP of the boxes and masks."""

    metric: ClassVar[str] = "pq"
    mode: ClassVar[str] = "max"
    pictures = staticmethod(segment_results.pictures)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators; see `dlcore.evaluators.box_measures.mask_evaluators`."""
        from dlcore.segmentation.panoptic import panoptic_evaluator

        evaluator = panoptic_evaluator(segment_networks.class_names(run.facts), len(run.facts.stuff_names))
        return [evaluator, *box_measures.mask_evaluators(run.facts.class_names, splits, split)]
