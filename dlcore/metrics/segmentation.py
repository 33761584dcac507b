"""Intersection over union of what was segmented: per class from a confusion matrix, and of voxels.

    IoU_c = n_cc / (sum_j n_cj + sum_j n_jc - n_cc)       mIoU = its mean over the classes that occur
    voxels:  |a and b| / |a or b|

Everingham et al. 2010. The counts add up over batches, so the mean is that of the whole set and not of batches. A class
occurs where it is in the truth or in the predictions; others are left out of the mean, as if they were not there.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.metrics.classification import ConfusionMatrix

__all__ = ["MeanIoU", "iou_per_class", "voxel_iou"]


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """[C, C] counts, rows true -> float64 [C], NaN for a class that does not occur. ValueError for another shape."""
    confusion = np.asarray(confusion, np.float64)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion has shape {confusion.shape}; it must be [C, C]")
    hit = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


class MeanIoU(ConfusionMatrix):
    """Counts as in `ConfusionMatrix`, read as IoU."""

    @classmethod
    def of(
        cls,
        prediction: jax.Array,
        label: jax.Array,
        mask: jax.Array | None = None,
        num_classes: int | None = None,
        void_label: int | None = None,
    ) -> Self:
        """Count a batch; the arguments and errors are those of `ConfusionMatrix.of`.

        void_label: pixels of that label are not counted (255 in PASCAL VOC and Cityscapes).
        """
        if void_label is not None:
            known = label != void_label
            if mask is not None:
                known &= mask.reshape(mask.shape + (1,) * (label.ndim - mask.ndim)) > 0
            mask = known
        return super().of(prediction, label, mask, num_classes)

    def compute(self) -> dict[str, Any] | None:
        """mean_iou, pixel_accuracy, mean_accuracy (over classes of the truth), frequency_weighted_iou, iou: [C].

        iou is float64, NaN for a class that does not occur. None where nothing was counted. Raises ValueError where
        classes lay outside.
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
    """IoU of the occupied voxels of one object: [D, H, W] and the same -> scalar; vmap over objects.

    A voxel is occupied above the threshold; bools are taken as they are. Two empty grids are the same: 1.
    Raises: ValueError where the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {prediction.shape} and truth {truth.shape}; they must be the same")
    a, b = (v if v.dtype == bool else v > threshold for v in (prediction, truth))
    inner, union = (a & b).sum(dtype=jnp.int32), (a | b).sum(dtype=jnp.int32)
    return jnp.where(union > 0, inner / jnp.maximum(union, 1), 1.0).astype(jnp.float32)
