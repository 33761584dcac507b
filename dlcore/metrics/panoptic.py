"""Panoptic quality: segments of things and stuff found, and how well.

Kirillov, He, Girshick, Rother & Dollar, "Panoptic segmentation" (2019), arXiv:1801.00868. A predicted and a true
segment of one class match where their IoU exceeds 1/2, so that each has one match at most. Of a class,

    PQ = sum of the matches' IoU / (TP + FP / 2 + FN / 2) = SQ RQ
    SQ = sum of the matches' IoU / TP          RQ = TP / (TP + FP / 2 + FN / 2)

over all images; the mean is over the classes that occur. As in panopticapi, void pixels of the truth leave the union,
and a segment that lies in them by more than half is not wrong. (Crowds count as void here.)
"""

import functools
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.learner import Metric
from dlcore.metrics.classification import check_outside
from dlcore.ops.checks import check_shapes

__all__ = ["PanopticQuality"]


class PanopticQuality(Metric):
    """Matched segments, their IoU, and what was not matched, by class.

    Args:
      iou: [C] float32, sum over the matches.
      matched: [C] int32, TP.
      wrong: [C] int32, FP.
      missed: [C] int32, FN.
      outside: [] int32, segments in use whose class is not in [0, C), or whose number has no class.
    """

    iou: jax.Array
    matched: jax.Array
    wrong: jax.Array
    missed: jax.Array
    outside: jax.Array

    @classmethod
    def of(
        cls,
        segments: jax.Array,
        labels: jax.Array,
        true_segments: jax.Array,
        true_labels: jax.Array,
        num_classes: int,
        mask: jax.Array | None = None,
    ) -> Self:
        """Match the segments of a batch.

        Args:
          segments: [B, H, W] int, the number of each pixel's predicted segment, -1 for none.
          labels: [B, S] int, classes of the predicted segments; -1 for a number that is not used.
          true_segments: [B, H, W] int, -1 for void.
          true_labels: [B, T] int, as `labels`.
          num_classes: C.
          mask: [B]; images of mask 0 do not count. None counts all.

        Returns:
          The metric.
        """
        check_whole_number("num_classes", num_classes, 1)
        check_shapes(
            segments=(segments, "int B H W"),
            labels=(labels, "int B S"),
            true_segments=(true_segments, "int B H W"),
            true_labels=(true_labels, "int B T"),
            mask=(mask, "mask B or None"),
        )
        count = functools.partial(_count, num_classes=num_classes)
        segments, labels = jnp.asarray(segments, jnp.int32), jnp.asarray(labels, jnp.int32)
        true_segments, true_labels = jnp.asarray(true_segments, jnp.int32), jnp.asarray(true_labels, jnp.int32)
        counts = jax.vmap(count)(segments, labels, true_segments, true_labels)
        valid = jnp.ones(len(segments), bool) if mask is None else mask > 0
        return cls(
            *(jnp.where(valid.reshape(-1, *[1] * (part.ndim - 1)), part, 0).sum(0, dtype=part.dtype) for part in counts)
        )

    def compute(self) -> dict[str, Any] | None:
        """Read the qualities.

        Returns:
          pq, sq, rq: float, means over the classes that occur; pq_by_class, sq_by_class, rq_by_class: [C] float64, NaN
          for a class that does not occur. None where no class occurs.
        """
        check_outside(self.outside, len(self.iou))
        parts = (self.iou, self.matched, self.wrong, self.missed)
        iou, matched, false_positive, missed = (np.asarray(x, np.float64) for x in parts)
        weight = matched + (false_positive + missed) / 2
        occurs = weight > 0
        if not occurs.any():
            return None
        measures = {
            "pq": np.divide(iou, weight, out=np.full(len(iou), np.nan), where=occurs),
            "sq": np.where(occurs, iou / np.maximum(matched, 1), np.nan),
            "rq": np.divide(matched, weight, out=np.full(len(iou), np.nan), where=occurs),
        }
        means = {name: float(np.nanmean(values)) for name, values in measures.items()}
        return means | {f"{name}_by_class": values for name, values in measures.items()}


def _count(segments, labels, true_segments, true_labels, num_classes: int) -> tuple[jax.Array, ...]:
    """IoU of the matches, TP, FP and FN of one image, [C] each; and the number of segments out of range."""
    rows, columns = len(labels) + 1, len(true_labels) + 1
    # The last row and column take the pixels of no segment.
    row, column = (jnp.where(s < 0, n - 1, s) for s, n in ((segments, rows), (true_segments, columns)))
    outside = sum((s >= n - 1).any() for s, n in ((segments, rows), (true_segments, columns)))
    pixels = jnp.zeros((rows, columns), jnp.int32).at[row, column].add(1)
    shared, in_void = pixels[:-1, :-1], pixels[:-1, -1]  # [S, T], [S]
    area, true_area = pixels[:-1].sum(1), pixels[:, :-1].sum(0)
    union = (area - in_void)[:, None] + true_area - shared
    iou = shared / jnp.maximum(union, 1)
    # Segments do not overlap, so that an IoU above 1/2 matches at most one of each side.
    match = (iou > 0.5) & (labels[:, None] == true_labels) & (labels[:, None] >= 0)
    # A predicted segment that lies mostly in void is not counted.
    false_positive = (area > 0) & (labels >= 0) & ~match.any(1) & (2 * in_void <= area)
    missed = (true_area > 0) & (true_labels >= 0) & ~match.any(0)

    def by_class(mask: jax.Array, classes: jax.Array) -> jax.Array:
        return (
            jnp.zeros(num_classes, mask.dtype).at[jnp.where(classes < 0, num_classes, classes)].add(mask, mode="drop")
        )

    for areas, classes in ((area, labels), (true_area, true_labels)):
        outside += ((areas > 0) & ((classes < 0) | (classes >= num_classes))).sum()
    hits = match.any(1)
    ious = jnp.where(match, iou, 0).sum(1).astype(jnp.float32)
    return (
        by_class(ious, labels),
        *(
            by_class(mask.astype(jnp.int32), classes)
            for mask, classes in ((hits, labels), (false_positive, labels), (missed, true_labels))
        ),
        outside.astype(jnp.int32),
    )
