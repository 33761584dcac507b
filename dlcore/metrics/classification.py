"""Accuracy, confusion, precision and recall of a classifier, as sums that are exact whatever the batch split.

    precision = TP / (TP + FP)      recall = TP / (TP + FN)      F1 = 2 TP / (2 TP + FP + FN)

Every function takes a batch and returns a `Metric`: int32 counts and float32 sums on the device, added by `merge`,
read on the host by `compute()`. The results equal scikit-learn's.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.learner import Metric, Sum, value_mask

__all__ = [
    "ConfusionMatrix",
    "PrecisionRecall",
    "accuracy",
    "check_outside",
    "class_predictions",
    "mean_loss",
    "top_k_accuracy",
]


def class_predictions(scores: Any) -> Any:
    """Return the class of the largest score; the first of equal scores wins.

    Args:
      scores: [..., C], logits or probabilities, of jax or NumPy.

    Returns:
      [...] int, classes; -1, which is no class, where a score is NaN.
    """
    xp = np if isinstance(scores, np.ndarray) else jnp
    return xp.where(xp.isnan(scores).any(-1), -1, scores.argmax(-1))


def accuracy(logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> Sum:
    """Share of examples whose largest logit is the label's; the first of equal logits wins, as in argmax.

    Args:
      logits: [B, C]. A row that holds NaN counts as wrong.
      labels: [B] int; one outside [0, C) counts as wrong.
      mask: [B]; examples of mask 0 do not count. None counts all.

    Returns:
      The metric, in [0, 1].
    """
    _check_logits(logits, labels, mask)
    return Sum.of((class_predictions(logits) == labels) & (labels >= 0), mask)


def top_k_accuracy(logits: jax.Array, labels: jax.Array, k: int, mask: jax.Array | None = None) -> Sum:
    """Share of examples whose label is among the k largest logits.

    Ties are broken as by scikit-learn's `top_k_accuracy_score`: of equal logits the higher class index ranks first (a
    stable ascending argsort, read backwards). So on tied rows k = 1 differs from `accuracy`.

    Args:
      logits: [B, C]. A row that holds NaN counts as wrong.
      labels: [B] int; one outside [0, C) counts as wrong.
      k: how many classes may be named, in [1, C].
      mask: [B]; examples of mask 0 do not count. None counts all.

    Returns:
      The metric, in [0, 1].
    """
    _check_logits(logits, labels, mask)
    num_classes = logits.shape[-1]
    check_whole_number("k", k)
    if not 1 <= k <= num_classes:
        raise ValueError(f"k={k}: out of range; allowed: 1 to {num_classes}, the number of classes")
    label_logit = jnp.take_along_axis(logits, labels[:, None], axis=-1, mode="clip")
    # Of equal logits the earlier class ranks first, as in argsort.
    tied_later = (logits == label_logit) & (jnp.arange(num_classes) > labels[:, None])
    rank = (~(logits <= label_logit) | tied_later).sum(-1)  # [B]
    is_valid = (labels >= 0) & (labels < num_classes) & ~jnp.isnan(logits).any(-1)
    return Sum.of((rank < k) & is_valid, mask)


def mean_loss(values: jax.Array, mask: jax.Array | None = None) -> Sum:
    """Mean of one loss an example.

    Args:
      values: [B] float.
      mask: [B]; examples of mask 0 do not count. None counts all.

    Returns:
      The metric.
    """
    if values.ndim != 1:
        raise ValueError(f"values={values.shape}: wrong rank; allowed: [B], one loss an example")
    if mask is not None and mask.shape != values.shape:
        raise ValueError(f"mask={mask.shape}: wrong shape; allowed: {values.shape}, as values")
    return Sum.of(values, mask)


class ConfusionMatrix(Metric):
    """How often each true class was predicted as each class.

    Args:
      counts: [C, C] int32, rows true, columns predicted.
      outside: [] int32, examples whose label or prediction is not in [0, C).
    """

    counts: jax.Array
    outside: jax.Array

    @classmethod
    def of(
        cls, predictions: jax.Array, labels: jax.Array, mask: jax.Array | None = None, num_classes: int | None = None
    ) -> Self:
        """Count a batch.

        Args:
          predictions: [B, ..., C], logits, or [B, ...] int, classes, which need `num_classes`.
          labels: [B, ...] int.
          mask: [B], or of the shape of `labels` (`labels != 255` for void pixels); 0 does not count. None counts all.
          num_classes: C; None to take it from the logits.

        Returns:
          The metric.
        """
        predictions, labels, num_classes = _classes(predictions, labels, num_classes)
        valid = value_mask(mask, labels.shape)
        inside = _inside(predictions, num_classes) & _inside(labels, num_classes)
        # Examples outside of [0, C) go to a row that does not exist, and are dropped.
        row = jnp.where(inside, labels, num_classes)
        column = jnp.where(inside, predictions, num_classes)
        counts = (
            jnp.zeros((num_classes, num_classes), jnp.int32).at[row, column].add(valid.astype(jnp.int32), mode="drop")
        )
        return cls(counts, (valid & ~inside).sum(dtype=jnp.int32))

    def compute(self) -> np.ndarray | None:
        """Read the counts.

        Returns:
          [C, C] int64; None where nothing was counted.
        """
        check_outside(self.outside, self.counts.shape[0])
        counts = np.asarray(self.counts, np.int64)
        return counts if counts.any() else None


class PrecisionRecall(Metric):
    """Precision, recall and F1 of each class and their averages, from counts that add.

    Args:
      true_positive: [C] int32.
      false_positive: [C] int32.
      false_negative: [C] int32.
      outside: [] int32, examples whose label or prediction is not in [0, C).
    """

    true_positive: jax.Array
    false_positive: jax.Array
    false_negative: jax.Array
    outside: jax.Array

    @classmethod
    def of(
        cls, predictions: jax.Array, labels: jax.Array, mask: jax.Array | None = None, num_classes: int | None = None
    ) -> Self:
        """Count a batch.

        Args:
          predictions: [B, ..., C], logits, or [B, ...] int, classes, which need `num_classes`.
          labels: [B, ...] int.
          mask: [B], or of the shape of `labels`; 0 does not count. None counts all.
          num_classes: C; None to take it from the logits.

        Returns:
          The metric.
        """
        predictions, labels, num_classes = _classes(predictions, labels, num_classes)
        valid = value_mask(mask, labels.shape)
        inside = _inside(predictions, num_classes) & _inside(labels, num_classes)
        hit = predictions == labels

        def count(classes: jax.Array, selected: jax.Array) -> jax.Array:
            index = jnp.where(inside, classes, num_classes)
            return jnp.zeros(num_classes, jnp.int32).at[index].add((valid & selected).astype(jnp.int32), mode="drop")

        outside = (valid & ~inside).sum(dtype=jnp.int32)
        return cls(count(labels, hit), count(predictions, ~hit), count(labels, ~hit), outside)

    def compute(self) -> dict[str, Any] | None:
        """Read the ratios.

        A ratio of nothing is 0, and a class that never occurred takes part in the macro mean with 0, as in scikit-learn
        with `labels=range(C), zero_division=0`.

        Returns:
          precision, recall, f1: [C] float64, and of each `macro_` (mean over classes) and `micro_` (pooled counts);
          None where nothing was counted.
        """
        check_outside(self.outside, self.true_positive.shape[0])
        tp, fp, fn = (np.asarray(a, np.int64) for a in (self.true_positive, self.false_positive, self.false_negative))
        if not (tp + fn).any():
            return None
        per_class = _ratios(tp, fp, fn)
        # Micro averages pool the counts of all classes; macro averages weigh classes alike.
        pooled = _ratios(tp.sum(), fp.sum(), fn.sum())
        macro = {f"macro_{name}": float(value.mean()) for name, value in per_class.items()}
        return macro | {f"micro_{name}": float(value) for name, value in pooled.items()} | per_class


def _ratios(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> dict[str, np.ndarray]:
    """Return the three ratios, 0 where there is nothing to divide by."""
    parts = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
    return {name: numerator / np.maximum(denominator, 1) for name, (numerator, denominator) in parts.items()}


def _check_logits(logits: jax.Array, labels: jax.Array, mask: jax.Array | None) -> None:
    """Refuse a classifier's batch whose arrays do not fit together."""
    if logits.ndim != 2:
        raise ValueError(f"logits={logits.shape}: wrong rank; allowed: [B, C]")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels={labels.shape}: wrong shape for logits {logits.shape}; allowed: {logits.shape[:1]}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels={labels.dtype}: wrong dtype; allowed: integers")
    if mask is not None and mask.shape != labels.shape:
        raise ValueError(f"mask={mask.shape}: wrong shape; allowed: {labels.shape}, as labels")


def _classes(predictions, labels, num_classes: int | None) -> tuple[jax.Array, jax.Array, int]:
    """Predicted and true classes as int32, since C need not fit into bytes, and C; from logits or classes."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels={labels.dtype}: wrong dtype; allowed: integers")
    if predictions.ndim == labels.ndim + 1 and predictions.shape[:-1] == labels.shape:
        if num_classes not in (None, predictions.shape[-1]):
            raise ValueError(f"num_classes={num_classes}: not that of the logits; allowed: {predictions.shape[-1]}")
        # NaN is no decision: a class that does not exist, which `compute` refuses.
        return class_predictions(predictions), jnp.asarray(labels, jnp.int32), predictions.shape[-1]
    if predictions.shape != labels.shape or not jnp.issubdtype(predictions.dtype, jnp.integer):
        raise ValueError(
            f"predictions={predictions.dtype}{list(predictions.shape)}: wrong for labels={labels.shape}; "
            f"allowed: logits {(*labels.shape, 'C')} or integer classes {labels.shape}"
        )
    if num_classes is None:
        raise ValueError("num_classes=None: missing where predictions are classes; allowed: the number of classes")
    check_whole_number("num_classes", num_classes, 1)
    return jnp.asarray(predictions, jnp.int32), jnp.asarray(labels, jnp.int32), num_classes


def _inside(classes: jax.Array, num_classes: int) -> jax.Array:
    return (classes >= 0) & (classes < num_classes)


def check_outside(outside: Any, num_classes: int) -> None:
    """Check that what was counted was of known classes.

    Args:
      outside: number of labels or predictions that lay outside [0, C) and were not masked.
      num_classes: C.
    """
    if outside > 0:
        raise ValueError(f"outside={int(outside)}: classes out of range; allowed: 0 to {num_classes - 1}, masked ones")
