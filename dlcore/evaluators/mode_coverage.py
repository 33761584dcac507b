"""Mode coverage: the modes of a known mixture that samples reach, and the share of samples near a mode.

Srivastava et al. 2017, arXiv:1705.07761:

    a sample is of high quality where it lies within 3 deviations of its nearest mode;
    a mode is covered where at least `least` of all samples are its high-quality samples

The original counts a mode from its first sample on; here it takes 1% of the samples, where a fair share of 8 modes
is 12.5%, so that a stray sample does not count.
"""

from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite

__all__ = ["mode_coverage", "mode_coverage_evaluator"]


def mode_coverage(
    samples: np.ndarray, centers: np.ndarray, deviation: float, least: float = 0.01
) -> dict[str, float | np.ndarray]:
    """Count the modes that samples cover.

    Args:
      samples: [N, D].
      centers: [K, D] of the modes.
      deviation: standard deviation of each mode.
      least: share of all samples that a covered mode has at least.

    Returns:
      `modes`, the number covered; `high_quality`, the share of samples near a mode; `mode_share: [K]`, that share for
      each mode.

    Raises:
      ValueError: shapes do not fit, there is no sample, one is not finite, or `deviation` is not positive.
    """
    samples, centers = np.asarray(samples, np.float64), np.asarray(centers, np.float64)
    if samples.ndim != 2 or not len(samples) or centers.ndim != 2 or samples.shape[1] != centers.shape[1]:
        raise ValueError(
            f"samples={samples.shape}, centers={centers.shape}: wrong shapes; allowed: [N, D] and [K, D], N above 0"
        )
    if not deviation > 0:
        raise ValueError(f"deviation={deviation}: out of range; allowed: above 0")
    check_finite("samples", samples)
    distance = np.linalg.norm(samples[:, None] - centers, axis=-1)
    near = distance.min(1) <= 3 * deviation
    fractions = np.bincount(distance.argmin(1)[near], minlength=len(centers)) / len(samples)
    return {"modes": float((fractions >= least).sum()), "high_quality": float(near.mean()), "mode_share": fractions}


def mode_coverage_evaluator(centers: np.ndarray, deviation: float, source: Any, name: str = "sample") -> Evaluator:
    """Measure `mode_coverage` of generated samples.

    Args:
      centers: [K, D] of the modes.
      deviation: standard deviation of each mode.
      source: source that `predict` draws samples for, as many as are measured.
      name: name of the samples among the outputs of `predict`.

    Returns:
      An evaluator of the numbers of `mode_coverage`.
    """

    def add(acc, outputs, rows):
        return [*(acc or []), outputs[name]]

    def finish(acc):
        return mode_coverage(np.concatenate(acc), centers, deviation)

    return Evaluator(add, finish, source, ("modes", "high_quality"))
