"""The share of correct keypoints of cut-out objects, and panels of their poses."""

from typing import Any, ClassVar

import numpy as np

from dlcore.data.scenes import KEYPOINTS
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["PosePCK", "of_true_boxes", "panels"]


class PosePCK:
    """The share of correct keypoints and AP of keypoint similarity in true boxes, beside those of the mean pose."""

    metric: ClassVar[str] = "pck"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of PCK and of AP, and on the test split that of the mean pose's PCK."""
        from dlcore.evaluators.coco import coco_evaluator
        from dlcore.evaluators.keypoints import pck_evaluator
        from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints

        classes = list(run.facts.class_names)
        pck = pck_evaluator(KEYPOINTS)
        similarity = coco_evaluator(classes, keypoints=True)
        measures = [of_true_boxes(pck, ("pck",)), of_true_boxes(similarity, ("keypoint_map",))]
        if split == "test":
            train = splits.train.arrays
            means = mean_keypoints({**train, "keypoints": train["keypoints"][:, None]}, len(classes))
            mean_pose = evaluate_class_means(pck, {"pck": "mean_keypoint_pck"}, keypoints=means)
            measures.append(of_true_boxes(mean_pose, ("mean_keypoint_pck",)))
        return measures


def of_true_boxes(evaluator: Evaluator, names: tuple[str, ...]) -> Evaluator:
    """Measure poses by an evaluator of detections: each crop has one, its true box.

    Args:
      evaluator: evaluator of keypoints of detections.
      names: names of the numbers that are reported.

    Returns:
      The evaluator of `keypoints` and `keypoint_scores`.
    """

    def add(acc: Any, outputs: Any, rows: Any) -> Any:
        detections = {
            "boxes": rows["boxes"],
            "labels": rows["labels"],
            "valid": np.ones_like(rows["box_mask"]),
            "scores": np.asarray(outputs["keypoint_scores"]).mean(-1, keepdims=True),
            "keypoints": np.asarray(outputs["keypoints"])[:, None],
        }
        return evaluator.add(acc, detections, {**rows, "keypoints": rows["keypoints"][:, None]})

    def finish(acc: Any) -> dict[str, Any]:
        numbers = evaluator.finish(acc)
        return {name: numbers[name] for name in names}

    return Evaluator(add, finish, evaluator.source, names)


def panels(context: ReportContext) -> list[Panel]:
    """Draw crops with true and predicted keypoints, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.figure import BLUE, VERMILION, figure_panel, new_figure, show_image

    test, points = context.data.test.arrays, np.asarray(context.outputs["keypoints"])
    count = min(8, len(points))
    figure, axes = new_figure((1.4 * count, 1.6), 1, count, squeeze=False)
    for i in range(count):
        side = context.spec["image_size"]
        show_image(axes[0, i], test["image"][i], extent=(0, side, side, 0))
        axes[0, i].plot(*test["keypoints"][i, :, :2].T, "o", color=BLUE, markersize=5)
        axes[0, i].plot(*points[i].T, "x", color=VERMILION, markersize=5)
    caption = "Blue dots: true keypoints; orange crosses: predicted ones."
    return [figure_panel("Keypoints", figure, caption), curves(context.history)]
