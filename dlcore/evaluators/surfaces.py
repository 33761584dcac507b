"""The distance between predicted and true surfaces of organs, over all volumes of a split."""

from collections.abc import Sequence

import numpy as np

from dlcore.learner import Evaluator
from dlcore.metrics.surface_distance import mean_surface_distance
from dlcore.ops.checks import check_class_ids, check_shapes, check_spacing

__all__ = ["surface_evaluator"]


def surface_evaluator(
    num_classes: int, spacing: Sequence[float], void_label: int = 255, source: object = None
) -> Evaluator:
    """Build the evaluator of the mean distance between surfaces of label maps.

    Args:
      num_classes: C, with the background, class 0.
      spacing: (depth, height, width) of a voxel, in mm.
      void_label: label of voxels that belong to no mask.
      source: inputs of `predict`, with `semantic: [N, D, H, W]`; None measures the split.

    Returns:
      The evaluator of `surface_distance`, in mm, the mean over organs of the mean over volumes in which truth and
      prediction have the organ; of `surface_distance_by_organ` [C - 1], NaN for an organ without such a volume; and of
      `missed_organs`, the share of true organs without any predicted voxel.
    """
    check_shapes(num_classes=(num_classes, "int >= 2"), void_label=(void_label, "int >= 0"))
    check_spacing(spacing)

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_shapes(classes=(outputs["classes"], "N D H W"), semantic=(rows["semantic"], "N D H W"))
        check_class_ids("classes", outputs["classes"], num_classes)
        check_class_ids("semantic", rows["semantic"], num_classes, void_label)
        acc = list(acc or [])
        for classes, labels in zip(np.asarray(outputs["classes"]), np.asarray(rows["semantic"]), strict=True):
            predicted = np.where(labels == void_label, 0, classes)
            pairs = [(predicted == organ, labels == organ) for organ in range(1, num_classes)]
            # Without a true organ there is no distance; infinity where it is missed.
            acc.append([mean_surface_distance(p, t, spacing) if t.any() else float("nan") for p, t in pairs])
        return acc

    def finish(acc: list) -> dict:
        distances = np.asarray(acc, np.float64)  # [N, C - 1]; NaN: no true organ, infinity: a missed one
        is_found, is_true = np.isfinite(distances), ~np.isnan(distances)
        sums, counts = np.where(is_found, distances, 0).sum(0), is_found.sum(0)
        by_organ = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return {
            "surface_distance": float(np.nanmean(by_organ)) if counts.any() else None,
            "surface_distance_by_organ": by_organ,
            "missed_organs": float((is_true & ~is_found).sum() / is_true.sum()) if is_true.any() else None,
        }

    return Evaluator(add, finish, source, ("surface_distance", "missed_organs"))
