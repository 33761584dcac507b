"""Intersection over union of segmentations: per class from a confusion matrix, and of voxels.

    IoU_c = n_cc / (sum_j n_cj + sum_j n_jc - n_cc)       mIoU = its mean over the classes that occur
    voxels:  |a and b| / |a or b|

Everingham et al. 2010. The counts add up over batches, so the mean is that of the whole set and not of batches. A class
occurs where it is in the truth or in the predictions; the mean leaves out the others.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.metrics.classification import ConfusionMatrix

__all__ = ["MeanIoU", "iou_per_class", "voxel_iou"]


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class.

    Args:
      confusion: [C, C], counts, rows true.

    Returns:
      [C] float64; NaN for a class that does not occur.

    Raises:
      ValueError: `confusion` is not square.
    """
    confusion = np.asarray(confusion, np.float64)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion={confusion.shape}: not square; allowed: [C, C]")
    hit = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


class MeanIoU(ConfusionMatrix):
    """A confusion matrix that is read as IoU."""

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
          void_label: pixels of this label do not count (255 in PASCAL VOC and Cityscapes); None for no such label.

        Returns:
          The metric.
        """
        if void_label is not None:
            counts = labels != void_label
            if mask is not None:
                counts &= mask.reshape(mask.shape + (1,) * (labels.ndim - mask.ndim)) > 0
            mask = counts
        return super().of(predictions, labels, mask, num_classes)

    def compute(self) -> dict[str, Any] | None:
        """Read the IoU and accuracies.

        Returns:
          mean_iou, pixel_accuracy, mean_accuracy (over classes of the truth), frequency_weighted_iou: float; iou: [C]
          float64, NaN for a class that does not occur. None where nothing was counted.
        """
        counts = super().compute()
        if counts is None:
            return None
        iou, true, hit = iou_per_class(counts), counts.sum(1), np.diag(counts)
        recall = hit[true > 0] / true[true > 0]
        return {
            "mean_iou": float(np.nanmean(iou)),
            "pixel_accuracy": float(hit.sum() / counts.sum()),
            "mean_accuracy": float(recall.mean()),
            "frequency_weighted_iou": float((np.nan_to_num(iou) * true).sum() / true.sum()),
            "iou": iou,
        }


def voxel_iou(prediction: jax.Array, truth: jax.Array, threshold: float = 0.5) -> jax.Array:
    """IoU of the occupied voxels of one object; vmap over objects.

    Args:
      prediction: [D, H, W], occupancy as bool or as a number.
      truth: of the same shape.
      threshold: voxels above it are occupied; bools are taken as they are.

    Returns:
      Scalar float32; 1 for two empty grids.

    Raises:
      ValueError: the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth={truth.shape}: another shape than the prediction; allowed: {prediction.shape}")
    a, b = (v if v.dtype == bool else v > threshold for v in (prediction, truth))
    inner, union = (a & b).sum(dtype=jnp.int32), (a | b).sum(dtype=jnp.int32)
    return jnp.where(union > 0, inner / jnp.maximum(union, 1), 1.0).astype(jnp.float32)
