"""Accuracy, confusion, precision and recall of a classifier, as sums that are exact whatever the batch split.

    precision = TP / (TP + FP)      recall = TP / (TP + FN)      F1 = 2 TP / (2 TP + FP + FN)

Every function takes a batch and gives a `Metric`: int32 counts and float32 sums on the device, added by `merge`,
read on the host by `compute()`. A mask of 0 leaves an example out. The results equal scikit-learn's.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.learner import Metric, Sum

__all__ = ["ConfusionMatrix", "PrecisionRecall", "accuracy", "mean_loss", "top_k_accuracy"]


def accuracy(logits: jax.Array, label: jax.Array, mask: jax.Array | None = None) -> Sum:
    """The share of examples whose largest logit is the label's; the first of equal logits wins, as in argmax.

    logits: [B, C]. label: [B] int. mask: [B] or None. A row that holds NaN, or a label outside 0..C-1, counts as
    wrong. Raises ValueError where the shapes do not fit together.
    """
    _check_logits(logits, label, mask)
    return Sum.of((jnp.argmax(logits, -1) == label) & ~jnp.isnan(logits).any(-1), mask)


def top_k_accuracy(logits: jax.Array, label: jax.Array, k: int, mask: jax.Array | None = None) -> Sum:
    """The share of examples whose label is among the k largest logits.

    Ties are broken as by scikit-learn's `top_k_accuracy_score`: of equal logits the higher class index ranks first (a
    stable ascending argsort, read backwards). So on tied rows k = 1 differs from `accuracy`.

    logits: [B, C]. label: [B] int. mask: [B] or None. NaN ranks above every number, and a label whose own logit is
    NaN, or that lies outside 0..C-1, counts as wrong. Raises ValueError where k is not in 1..C or shapes do not fit.
    """
    _check_logits(logits, label, mask)
    num_classes = logits.shape[-1]
    if not 1 <= k <= num_classes:
        raise ValueError(f"k is {k}; with {num_classes} classes it must be in 1..{num_classes}")
    own = jnp.take_along_axis(logits, label[:, None], axis=-1, mode="clip")
    tied_later = (logits == own) & (jnp.arange(num_classes) > label[:, None])
    rank = (~(logits <= own) | tied_later).sum(-1)
    return Sum.of((rank < k) & (label >= 0) & (label < num_classes), mask)


def mean_loss(values: jax.Array, mask: jax.Array | None = None) -> Sum:
    """The mean of one loss an example, values: [B] float, over the examples where mask: [B] is set.

    Raises ValueError where `values` is not [B] (a batch average does not add up over unequal batches).
    """
    if values.ndim != 1:
        raise ValueError(f"values has shape {values.shape}; it must be [B], one loss an example")
    if mask is not None and mask.shape != values.shape:
        raise ValueError(f"mask has shape {mask.shape}; it must be {values.shape}, as values")
    return Sum.of(values, mask)


class ConfusionMatrix(Metric):
    """How often each true class was predicted as each class.

    counts: int32 [C, C], rows true, columns predicted. outside: int32 [], labels or predictions not in 0..C-1.
    """

    counts: jax.Array
    outside: jax.Array

    @classmethod
    def of(
        cls,
        prediction: jax.Array,
        label: jax.Array,
        mask: jax.Array | None = None,
        num_classes: int | None = None,
    ) -> Self:
        """Count a batch.

        prediction: logits [B, ..., C], or classes [B, ...] int, which need `num_classes`. label: [B, ...] int.
        mask: [B], or of label's shape (a void label in segmentation: `mask=label != 255`), or None.
        Raises ValueError where shapes do not fit together or num_classes is missing or at odds with the logits.
        """
        prediction, num_classes = _classes(prediction, label, num_classes)
        keep = _label_mask(label, mask)
        inside = _inside(prediction, num_classes) & _inside(label, num_classes)
        row = jnp.where(inside, label, num_classes)
        column = jnp.where(inside, prediction, num_classes)
        counts = (
            jnp.zeros((num_classes, num_classes), jnp.int32).at[row, column].add(keep.astype(jnp.int32), mode="drop")
        )
        return cls(counts, (keep & ~inside).sum(dtype=jnp.int32))

    def compute(self) -> np.ndarray | None:
        """The counts, int64 [C, C]; None where nothing was counted. Raises ValueError where classes lay outside."""
        _check_outside(self.outside, self.counts.shape[0])
        counts = np.asarray(self.counts, np.int64)
        return counts if counts.any() else None


class PrecisionRecall(Metric):
    """Precision, recall and F1 of each class and their averages, from counts that add.

    true_positive, false_positive, false_negative: int32 [C]. outside: int32 [], labels or predictions not in 0..C-1.
    """

    true_positive: jax.Array
    false_positive: jax.Array
    false_negative: jax.Array
    outside: jax.Array

    @classmethod
    def of(
        cls,
        prediction: jax.Array,
        label: jax.Array,
        mask: jax.Array | None = None,
        num_classes: int | None = None,
    ) -> Self:
        """Count a batch; the arguments and errors are those of `ConfusionMatrix.of`."""
        prediction, num_classes = _classes(prediction, label, num_classes)
        keep = _label_mask(label, mask)
        inside = _inside(prediction, num_classes) & _inside(label, num_classes)
        hit = prediction == label

        def count(classes: jax.Array, chosen: jax.Array) -> jax.Array:
            index = jnp.where(inside, classes, num_classes)
            return jnp.zeros(num_classes, jnp.int32).at[index].add((keep & chosen).astype(jnp.int32), mode="drop")

        outside = (keep & ~inside).sum(dtype=jnp.int32)
        return cls(count(label, hit), count(prediction, ~hit), count(label, ~hit), outside)

    def compute(self) -> dict[str, Any] | None:
        """precision, recall, f1: float64 [C], and of each `macro_` (mean over classes) and `micro_` (pooled counts).

        A ratio of nothing is 0, and a class that never occurred takes part in the macro mean with 0, as in
        scikit-learn with `labels=range(C), zero_division=0`. None where nothing was counted. Raises ValueError where
        classes lay outside 0..C-1.
        """
        _check_outside(self.outside, self.true_positive.shape[0])
        tp, fp, fn = (np.asarray(a, np.int64) for a in (self.true_positive, self.false_positive, self.false_negative))
        if not (tp + fn).any():
            return None
        per_class = _ratios(tp, fp, fn)
        pooled = _ratios(tp.sum(), fp.sum(), fn.sum())
        macro = {f"macro_{name}": float(value.mean()) for name, value in per_class.items()}
        return macro | {f"micro_{name}": float(value) for name, value in pooled.items()} | per_class


def _ratios(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> dict[str, np.ndarray]:
    """The three ratios, 0 where there is nothing to divide by."""
    parts = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
    return {name: above / np.maximum(below, 1) for name, (above, below) in parts.items()}


def _check_logits(logits: jax.Array, label: jax.Array, mask: jax.Array | None) -> None:
    """Say which of the three arrays of a classifier's batch has the wrong shape or type."""
    if logits.ndim != 2:
        raise ValueError(f"logits has shape {logits.shape}; it must be [B, C]")
    if label.shape != logits.shape[:1]:
        raise ValueError(f"label has shape {label.shape}; with logits {logits.shape} it must be {logits.shape[:1]}")
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"label has dtype {label.dtype}; it must hold integer classes")
    if mask is not None and mask.shape != label.shape:
        raise ValueError(f"mask has shape {mask.shape}; it must be {label.shape}, as label")


def _classes(prediction: jax.Array, label: jax.Array, num_classes: int | None) -> tuple[jax.Array, int]:
    """Predicted classes of label's shape, and the number of classes, from logits or classes."""
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"label has dtype {label.dtype}; it must hold integer classes")
    if prediction.ndim == label.ndim + 1 and prediction.shape[:-1] == label.shape:
        if num_classes not in (None, prediction.shape[-1]):
            raise ValueError(f"num_classes is {num_classes}, but the logits have {prediction.shape[-1]} classes")
        return jnp.argmax(prediction, -1), prediction.shape[-1]
    if prediction.shape != label.shape or not jnp.issubdtype(prediction.dtype, jnp.integer):
        raise ValueError(
            f"prediction has shape {prediction.shape} and dtype {prediction.dtype}; with label {label.shape} it must "
            f"be logits {(*label.shape, 'C')} or integer classes {label.shape}"
        )
    if num_classes is None:
        raise ValueError("num_classes is None; it is needed where prediction holds classes instead of logits")
    return prediction, num_classes


def _label_mask(label: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The mask as bool of label's shape."""
    if mask is None:
        return jnp.ones(label.shape, bool)
    if mask.shape not in (label.shape, label.shape[:1]):
        raise ValueError(f"mask has shape {mask.shape}; it must be {label.shape[:1]} or {label.shape}")
    return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (label.ndim - mask.ndim)) > 0, label.shape)


def _inside(classes: jax.Array, num_classes: int) -> jax.Array:
    return (classes >= 0) & (classes < num_classes)


def _check_outside(outside: Any, num_classes: int) -> None:
    if outside > 0:
        raise ValueError(f"{int(outside)} labels or predictions lay outside 0..{num_classes - 1}; mask such labels out")
