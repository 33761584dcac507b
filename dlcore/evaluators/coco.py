"""COCO's mean average precision of detections, by pycocotools.

Lin et al. 2014, arXiv:1405.0312.

    AP  = mean over 101 recalls r of max {precision at recall >= r}
    mAP = mean of AP over classes and over IoU thresholds 0.5, 0.55, ..., 0.95
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore.extras import require
from dlcore.learner import Evaluator

__all__ = ["CocoResult", "coco_evaluator", "coco_map"]


class CocoResult(NamedTuple):
    """What COCO's evaluation measures.

    Args:
      stats: the 12 numbers that COCO prints, -1 where there is nothing to measure.
      precision: [10 thresholds, 101 recalls, classes], -1 for a class that does not occur.
      recall: [10 thresholds, classes].
    """

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def coco_map(truth: np.ndarray, detections: np.ndarray, num_images: int, num_classes: int) -> CocoResult:
    """Measure detections against the truth. Images and classes count from 0; boxes are corners in pixels.

    Args:
      truth: [G, 7], rows of image, class, x0, y0, x1, y1, whether it is a crowd.
      detections: [D, 7], rows of image, class, x0, y0, x1, y1, score.
      num_images: number of images, with or without boxes.
      num_classes: number of classes.

    Returns:
      The numbers over all areas, with up to 100 detections an image.

    Raises:
      MissingPackage: pycocotools is not installed.
    """
    require("pycocotools", what="COCO's mAP")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, detections = (np.asarray(rows, np.float64).reshape(-1, 7) for rows in (truth, detections))
    notes = [
        {
            "id": i,
            "image_id": int(image),
            "category_id": int(label),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": int(crowd),
        }
        for i, (image, label, x0, y0, x1, y1, crowd) in enumerate(truth.tolist(), 1)
    ]
    image, label, corner, opposite, score = np.split(detections, [1, 2, 4, 6], 1)
    rows = np.concatenate([image, corner, opposite - corner, score, label], 1)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(num_images)],
            "categories": [{"id": i} for i in range(num_classes)],
            "annotations": notes,
        }
        coco.createIndex()
        if len(rows):
            results = coco.loadRes(rows)
        else:
            results = COCO()
            results.dataset = {**coco.dataset, "annotations": []}
            results.createIndex()
        evaluation = COCOeval(coco, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # All areas, 100 detections an image.
    return CocoResult(
        np.asarray(evaluation.stats), evaluation.eval["precision"][:, :, :, 0, 2], evaluation.eval["recall"][:, :, 0, 2]
    )


def coco_evaluator(class_names: Sequence[str], source: Any = None) -> Evaluator:
    """Measure mAP of a learner whose predict gives `boxes: [B, K, 4]`, `scores`, `labels` and `valid`: [B, K].

    The truth is read from the rows' `boxes: [B, M, 4]`, `labels`, `box_mask` and, where there is one, `crowd`: [B, M].
    Numbers: map (over thresholds 0.5 to 0.95), map50, map75, recall100, and map50/NAME and map/NAME of each class that
    occurs; None where there is nothing to measure. The array `pr50: [101, C]` is precision over recall at IoU 0.5, -1
    for a class that does not occur.

    Args:
      class_names: names of labels 0, 1, ...
      source: to measure; None measures the split.

    Returns:
      The evaluator.

    Raises:
      MissingPackage: pycocotools is not installed.
    """
    require("pycocotools", what="COCO's mAP")
    names = list(class_names)

    def add(acc, outputs, rows):
        truth, detections, count = acc or ([], [], 0)
        crowd = np.asarray(rows.get("crowd", np.zeros_like(rows["box_mask"], bool)))
        scored = (np.asarray(rows["box_mask"]) > 0) | crowd
        truth = [*truth, _rows(rows["boxes"], rows["labels"], crowd, scored, count)]
        detections = [
            *detections,
            _rows(outputs["boxes"], outputs["labels"], outputs["scores"], outputs["valid"], count),
        ]
        return truth, detections, count + len(scored)

    def finish(acc):
        truth, detections, count = acc
        result = coco_map(np.concatenate(truth), np.concatenate(detections), count, len(names))
        numbers = {
            name: _share(result.stats[i]) for name, i in (("map", 0), ("map50", 1), ("map75", 2), ("recall100", 8))
        }
        for i, name in enumerate(names):
            if (result.precision[:, :, i] > -1).any():
                numbers[f"map/{name}"] = float(result.precision[:, :, i].mean())
                numbers[f"map50/{name}"] = float(result.precision[0, :, i].mean())
        return {**numbers, "pr50": result.precision[0]}

    of_classes = [f"{measure}/{name}" for measure in ("map", "map50") for name in names]
    return Evaluator(add, finish, source, ("map", "map50", "map75", "recall100", *of_classes))


def _rows(boxes: Any, labels: Any, last: Any, scored: Any, first: int) -> np.ndarray:
    """Image, class, corners and one more number of the boxes that count."""
    image, slot = np.nonzero(np.asarray(scored))
    columns = (image + first, np.asarray(labels)[image, slot], *np.asarray(boxes)[image, slot].T)
    return np.stack([*columns, np.asarray(last)[image, slot]], -1).astype(np.float64)


def _share(value: float) -> float | None:
    return None if value < 0 else float(value)
