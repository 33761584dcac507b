"""Calibration: how far a classifier's confidence is from its accuracy.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599, equations 3 and 5.

    ECE = sum_m n_m / n |acc_m - conf_m|      MCE = max_m |acc_m - conf_m|

over M equal-width bins (m/M, (m+1)/M] of the confidence, the largest softmax probability; empty bins take no part.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.learner import Metric
from dlcore.metrics.classification import _check_logits, class_predictions
from dlcore.ops.checks import check_mask, check_range, check_values
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Calibration"]


class Calibration(Metric):
    """Counts, confidences and hits in bins of confidence.

    Args:
      count: [M] int32, examples in each bin.
      confidence: [M] float32, sum of their confidences.
      correct: [M] int32, how many of them are right.
    """

    count: jax.Array
    confidence: jax.Array
    correct: jax.Array

    @classmethod
    def of(cls, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None, num_bins: int = 15) -> Self:
        """Sort a batch into bins.

        Args:
          logits: [B, C].
          labels: [B] int.
          mask: [B]; examples of mask 0 do not count. None counts all.
          num_bins: M, at least 1.

        Returns:
          The metric.
        """
        _check_logits(logits, labels, mask)
        logits = logits if mask is None else jnp.where(mask[:, None] > 0, logits, 0)
        probabilities = jax.nn.softmax(to_acc_dtype(logits), axis=-1)
        return cls.of_confidence(probabilities.max(-1), class_predictions(logits) == labels, mask, num_bins)

    @classmethod
    def of_confidence(
        cls, confidence: jax.Array, correct: jax.Array, mask: jax.Array | None = None, num_bins: int = 15
    ) -> Self:
        """Sort predictions of known confidence into bins.

        Args:
          confidence: [B] in [0, 1].
          correct: [B] bool, whether each prediction is right.
          mask: [B]; examples of mask 0 do not count. None counts all.
          num_bins: M, at least 1.

        Returns:
          The metric.
        """
        check_whole_number("num_bins", num_bins, 1)
        check_values("correct", correct, (0, 1))
        correct = correct > 0
        if confidence.ndim != 1 or correct.shape != confidence.shape:
            raise ValueError(f"{confidence.shape=}, {correct.shape=}: wrong shapes; allowed: [B] for both")
        if mask is not None and mask.shape != confidence.shape:
            raise ValueError(f"mask={mask.shape}: wrong shape; allowed: {confidence.shape}, as confidence")
        check_mask("mask", mask)
        valid = jnp.ones(confidence.shape, bool) if mask is None else mask > 0
        check_range("confidence", jnp.where(valid, confidence, 0), 0, 1)
        confidence = to_acc_dtype(confidence)
        inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1].astype(confidence.dtype)
        index = (confidence[:, None] > inner_edges).sum(-1)  # [B], bins closed above
        member = (index[:, None] == jnp.arange(num_bins)) & valid[:, None]  # [B, M]
        return cls(
            count=member.sum(0, dtype=jnp.int32),
            confidence=jnp.where(member, confidence[:, None], 0).sum(0),
            correct=(member & correct[:, None]).sum(0, dtype=jnp.int32),
        )

    def compute(self) -> dict[str, Any] | None:
        """Read the errors and what a reliability diagram needs.

        Returns:
          ece, mce, mean_confidence: float. bin_count: [M] int64; bin_confidence, bin_accuracy: [M] float64, 0 where the
          bin is empty; bin_edges: [M + 1] float64. None where nothing was counted.
        """
        count = np.asarray(self.count, np.int64)
        total = count.sum()
        if total == 0:
            return None
        confidence = np.asarray(self.confidence, np.float64)
        correct = np.asarray(self.correct, np.int64)
        at_least_one = np.maximum(count, 1)
        gap = np.abs(correct - confidence)  # [M], sums over the bin, not means
        return {
            "ece": float(gap.sum() / total),
            "mce": float((gap / at_least_one).max()),
            "mean_confidence": float(confidence.sum() / total),
            "bin_count": count,
            "bin_confidence": confidence / at_least_one,
            "bin_accuracy": correct / at_least_one,
            "bin_edges": np.linspace(0, 1, len(count) + 1),
        }
