"""Intersection over union of segmentations: per class from a confusion matrix, along boundaries, and of voxels.

    IoU_c = n_cc / (sum_j n_cj + sum_j n_jc - n_cc)       mIoU = its mean over the classes that occur
    boundary:  |A_d and B_d| / |A_d or B_d|, A_d the pixels of a class within d of its outline
    voxels:  |a and b| / |a or b|

Everingham et al. 2010; Cheng et al., "Boundary IoU" (2021), arXiv:2103.16562. The counts add up over batches, so the
mean is that of the whole set and not of batches. A class occurs where it is in the truth or in the predictions; the
mean leaves out the others.
"""

from typing import Any, Self

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlcore.learner import Metric, value_mask
from dlcore.metrics.classification import ConfusionMatrix, check_outside
from dlcore.ops.checks import check_counts, check_finite, check_shapes

__all__ = ["BoundaryIoU", "MeanIoU", "iou_per_class", "voxel_iou"]


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class.

    Args:
      confusion: [C, C], counts, rows true.

    Returns:
      [C] float64; NaN for a class that does not occur.
    """
    confusion = np.asarray(confusion, np.float64)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion={confusion.shape}: not square; allowed: [C, C]")
    check_counts("confusion", confusion)
    hit = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hit  # [C]
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


class MeanIoU(ConfusionMatrix):
    """A confusion matrix that is read as IoU.

    Args:
      void_label: class that is no class, which the means leave out; None for no such class.
    """

    void_label: int | None = struct.field(pytree_node=False, default=None)

    @classmethod
    def of(
        cls,
        predictions: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        num_classes: int | None = None,
        void_label: int | None = None,
    ) -> Self:
        """Count a batch.

        Args:
          predictions: [B, ..., C], logits, or [B, ...] int, classes, which need `num_classes`.
          labels: [B, ...] int.
          mask: [B], or of the shape of `labels`; 0 does not count. None counts all.
          num_classes: C; None to take it from the logits.
          void_label: pixels of this label do not count (255 in PASCAL VOC and Cityscapes), and where it is one of the
            C classes (0, say) the means leave it out; None for no such label.
        """
        if void_label is not None:
            mask = (labels != void_label) & value_mask(mask, labels.shape)
        return super().of(predictions, labels, mask, num_classes).replace(void_label=void_label)

    def compute(self) -> dict[str, Any] | None:
        """Read the IoU and accuracies.

        Returns:
          mean_iou, pixel_accuracy, mean_accuracy (over classes of the truth), frequency_weighted_iou: float; iou: [C]
          float64, NaN for a class that does not occur. None where nothing was counted.
        """
        counts = super().compute()
        if counts is None:
            return None
        iou, target_counts, hit = iou_per_class(counts), counts.sum(1), np.diag(counts)
        if self.void_label is not None and 0 <= self.void_label < len(iou):
            iou[self.void_label] = np.nan
        # Classes without a pixel have no recall.
        recall = hit[target_counts > 0] / target_counts[target_counts > 0]
        return {
            "mean_iou": float(np.nanmean(iou)),
            "pixel_accuracy": float(hit.sum() / counts.sum()),
            "mean_accuracy": float(recall.mean()),
            "frequency_weighted_iou": float((np.nan_to_num(iou) * target_counts).sum() / target_counts.sum()),
            "iou": iou,
        }


class BoundaryIoU(Metric):
    """Pixels of the classes' bands that are in both, and in either, of prediction and truth.

    Args:
      shared: [C] int32.
      either: [C] int32.
      outside: [] int32, pixels that count and whose label or prediction is not in [0, C).
    """

    shared: jax.Array
    either: jax.Array
    outside: jax.Array

    @classmethod
    def of(
        cls,
        predictions: jax.Array,
        labels: jax.Array,
        num_classes: int,
        mask: jax.Array | None = None,
        void_label: int | None = None,
        width: int = 3,
    ) -> Self:
        """Count a batch.

        The band of a class are its pixels from which a square of 2 width + 1 pixels reaches out of it. The image's edge
        is an outline, as in the paper's code; the edge of pixels that do not count is none.

        Args:
          predictions: [B, H, W] int, classes.
          labels: [B, H, W] int.
          num_classes: C.
          mask: [B], or of the shape of `labels`; 0 does not count. None counts all.
          void_label: label of pixels that do not count; None for no such label.
          width: d, in pixels, at least 1.

        Returns:
          The metric.
        """
        check_shapes(width=(width, "int >= 1"), num_classes=(num_classes, "int >= 1"))
        check_shapes(labels=(labels, "int B H W"), predictions=(predictions, "int B H W"))
        counts = value_mask(mask, labels.shape)
        if void_label is not None:
            counts &= labels != void_label

        inside = (predictions >= 0) & (predictions < num_classes) & (labels >= 0) & (labels < num_classes)

        def band(member: jax.Array) -> jax.Array:
            inner = member | ~counts
            for shape in ((1, 2 * width + 1, 1), (1, 1, 2 * width + 1)):
                inner = jax.lax.reduce_window(
                    jnp.pad(inner, [(0, 0)] + [(n // 2, n // 2) for n in shape[1:]]),
                    True,
                    jax.lax.bitwise_and,
                    shape,
                    (1, 1, 1),
                    "VALID",
                )
            # The band is what erosion by the window removes; pixels that do not count do not erode.
            return member & ~inner & counts

        def count(label: jax.Array) -> tuple[jax.Array, jax.Array]:
            a, b = band(predictions == label), band(labels == label)
            either = (a | b) & (label != (-1 if void_label is None else void_label))
            return (a & b).sum(dtype=jnp.int32), either.sum(dtype=jnp.int32)

        outside = (counts & ~inside).sum(dtype=jnp.int32)
        intersection, union = jax.lax.map(count, jnp.arange(num_classes))
        return cls(intersection, union, outside)

    def compute(self) -> dict[str, Any] | None:
        """Read the IoU.

        Returns:
          boundary_iou: float, the mean over the classes that occur; boundary_iou_by_class: [C] float64, NaN for a class
          that does not occur, or is void. None where none occurs.
        """
        check_outside(self.outside, len(self.either))
        shared, either = np.asarray(self.shared, np.float64), np.asarray(self.either, np.float64)
        if not either.any():
            return None
        iou = np.divide(shared, either, out=np.full(len(either), np.nan), where=either > 0)
        return {"boundary_iou": float(np.nanmean(iou)), "boundary_iou_by_class": iou}


def voxel_iou(prediction: jax.Array, truth: jax.Array, threshold: float = 0.5) -> jax.Array:
    """IoU of the occupied voxels of one object; vmap over objects.

    Args:
      prediction: [D, H, W], occupancy as bool or as a number.
      truth: target values, array of the same shape.
      threshold: voxels above it are occupied; bools are taken as they are.

    Returns:
      Scalar float32; 1 for two empty grids, NaN where an occupancy is NaN.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth={truth.shape}: another shape than the prediction; allowed: {prediction.shape}")
    check_finite("threshold", threshold)
    if not isinstance(truth, jax.core.Tracer) and truth.dtype != bool and threshold >= 1 and truth.max(initial=0) <= 1:
        raise ValueError(f"threshold={threshold:g}: above every occupancy; allowed: below 1")
    a, b = (v if v.dtype == bool else v > threshold for v in (prediction, truth))
    inner, union = (a & b).sum(dtype=jnp.int32), (a | b).sum(dtype=jnp.int32)
    has_nan = jnp.isnan(prediction).any() | jnp.isnan(truth).any()
    iou = jnp.where(union > 0, inner / jnp.maximum(union, 1), 1.0)
    return jnp.where(has_nan, jnp.nan, iou).astype(jnp.float32)
