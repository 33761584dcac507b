"""How far a classifier's confidence is from how often it is right.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599, equations 3 and 5.

    ECE = sum_m n_m / n |acc_m - conf_m|      MCE = max_m |acc_m - conf_m|

over M equal-width bins (m/M, (m+1)/M] of the confidence, the largest softmax probability; empty bins take no part.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.learner import Metric
from dlcore.metrics.classification import _check_logits

__all__ = ["Calibration"]


class Calibration(Metric):
    """Counts, confidences and hits by bin of confidence.

    count, correct: int32 [M]. confidence: float32 [M], the sum of the confidences in each bin.
    """

    count: jax.Array
    confidence: jax.Array
    correct: jax.Array

    @classmethod
    def of(cls, logits: jax.Array, label: jax.Array, mask: jax.Array | None = None, num_bins: int = 15) -> Self:
        """Sort a batch into bins. logits: [B, C]. label: [B] int. mask: [B] or None.

        Raises ValueError where shapes do not fit together or num_bins is below 1.
        """
        _check_logits(logits, label, mask)
        probabilities = jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=-1)
        return cls.of_confidence(probabilities.max(-1), jnp.argmax(logits, -1) == label, mask, num_bins)

    @classmethod
    def of_confidence(
        cls, confidence: jax.Array, correct: jax.Array, mask: jax.Array | None = None, num_bins: int = 15
    ) -> Self:
        """Sort predictions of known confidence into bins.

        confidence: [B] in [0, 1]. correct: [B] bool. mask: [B] or None. Raises ValueError where shapes do not fit
        together or num_bins is below 1.
        """
        if num_bins < 1:
            raise ValueError(f"num_bins is {num_bins}; it must be at least 1")
        if confidence.ndim != 1 or correct.shape != confidence.shape:
            raise ValueError(f"confidence has shape {confidence.shape} and correct {correct.shape}; both must be [B]")
        if mask is not None and mask.shape != confidence.shape:
            raise ValueError(f"mask has shape {mask.shape}; it must be {confidence.shape}, as confidence")
        keep = jnp.ones(confidence.shape, bool) if mask is None else mask > 0
        confidence = confidence.astype(jnp.promote_types(confidence.dtype, jnp.float32))
        inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1].astype(confidence.dtype)
        index = (confidence[:, None] > inner_edges).sum(-1)
        member = (index[:, None] == jnp.arange(num_bins)) & keep[:, None]
        return cls(
            count=member.sum(0, dtype=jnp.int32),
            confidence=jnp.where(member, confidence[:, None], 0).sum(0),
            correct=(member & correct[:, None]).sum(0, dtype=jnp.int32),
        )

    def compute(self) -> dict[str, Any] | None:
        """What a reliability diagram needs; None where nothing was counted.

        ece, mce, mean_confidence: float. bin_count: int64 [M]; bin_confidence, bin_accuracy: float64 [M], 0
        where the bin is empty; bin_edges: float64 [M + 1].
        """
        count = np.asarray(self.count, np.int64)
        total = count.sum()
        if total == 0:
            return None
        confidence = np.asarray(self.confidence, np.float64)
        correct = np.asarray(self.correct, np.int64)
        filled = np.maximum(count, 1)
        gap = np.abs(correct - confidence)
        return {
            "ece": float(gap.sum() / total),
            "mce": float((gap / filled).max()),
            "mean_confidence": float(confidence.sum() / total),
            "bin_count": count,
            "bin_confidence": confidence / filled,
            "bin_accuracy": correct / filled,
            "bin_edges": np.linspace(0, 1, len(count) + 1),
        }
