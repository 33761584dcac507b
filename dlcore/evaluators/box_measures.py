"""Measures of a detector: COCO's mAP of boxes and masks, correct keypoints, beside each class's mean shape."""

from collections.abc import Sequence
from typing import ClassVar

from dlcore.data.splits import Splits
from dlcore.evaluators import box_results
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator

__all__ = ["BoxMAP", "KeypointPCK", "MaskMAP", "MeanIoU", "mask_evaluators"]

_NUM_MEAN_SHAPES = 500
"""Number of training images whose mean masks and keypoints are the baseline."""


class BoxMAP:
    """COCO's mAP of boxes."""

    metric: ClassVar[str] = "map"
    mode: ClassVar[str] = "max"
    pictures = staticmethod(box_results.pictures)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of the mAP."""
        from dlcore.evaluators.coco import coco_evaluator

        return [coco_evaluator(list(run.facts.class_names), masks=False, keypoints=False)]


class MaskMAP:
    """COCO's mAP of masks and of boxes, beside that of each class's mean mask."""

    metric: ClassVar[str] = "mask_map"
    mode: ClassVar[str] = "max"
    pictures = staticmethod(box_results.pictures)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators, see `mask_evaluators`."""
        return mask_evaluators(run.facts.class_names, splits, split)


class KeypointPCK:
    """The share of correct keypoints and COCO's mAP of keypoints and boxes, beside those of each class's mean."""

    metric: ClassVar[str] = "pck"
    mode: ClassVar[str] = "max"
    pictures = staticmethod(box_results.pictures)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of PCK and of COCO's mAP.

        On the test split they also measure a baseline that ignores the pixels in a box: mean_keypoint_pck takes the
        detected boxes with their class's mean training keypoints.
        """
        from dlcore.evaluators.coco import coco_evaluator
        from dlcore.evaluators.keypoints import pck_evaluator
        from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints

        classes, names = list(run.facts.class_names), list(run.facts.keypoint_names)
        measures = [coco_evaluator(classes, masks=False, keypoints=True), pck_evaluator(names)]
        if split == "test":
            points = mean_keypoints(splits.train.take(_NUM_MEAN_SHAPES).arrays, len(classes))
            measures.append(evaluate_class_means(pck_evaluator(names), {"pck": "mean_keypoint_pck"}, keypoints=points))
        return measures


class MeanIoU:
    """The mean IoU of the boxes, which the technique measures."""

    metric: ClassVar[str] = "iou"
    mode: ClassVar[str] = "max"


def mask_evaluators(class_names: Sequence[str], splits: Splits, split: str) -> list[Evaluator]:
    """Build the evaluators of COCO's mAP of boxes and masks.

    On the test split they also measure a baseline that ignores the pixels in a box: mean_mask_map takes the detected
    boxes with their class's mean training mask.

    Args:
      class_names: names of the classes.
      splits: the data.
      split: "valid" or "test".

    Returns:
      The evaluators.
    """
    from dlcore.evaluators.coco import coco_evaluator
    from dlcore.evaluators.mean_shape import evaluate_class_means, mean_masks

    classes = list(class_names)
    measures = [coco_evaluator(classes, masks=True, keypoints=False)]
    if split == "test":
        masks = mean_masks(splits.train.take(_NUM_MEAN_SHAPES).arrays, len(classes))
        evaluator = coco_evaluator(classes, masks=True)
        measures.append(evaluate_class_means(evaluator, {"mask_map": "mean_mask_map"}, masks=masks))
    return measures
