"""Mode coverage: the modes of a known mixture that samples reach, and the fraction of samples near a mode.

Srivastava et al. 2017, arXiv:1705.07761:

    a sample is of high quality if it lies within 3 standard deviations of its nearest mode;
    a mode is covered if at least a fraction `least` of all samples are its high-quality samples

The original counts a mode from its first sample on; here a mode needs 1 % of the samples (12.5 % would be uniform over
8 modes), so that a stray sample does not count.
"""

from typing import Any

import numpy as np

from dlcore.choices import check_choice
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["mode_coverage", "mode_coverage_evaluator"]


def mode_coverage(
    samples: np.ndarray, centers: np.ndarray, deviation: float, least: float = 0.01
) -> dict[str, float | np.ndarray]:
    """Count the modes that samples cover.

    Args:
      samples: [N, D].
      centers: [K, D], centers of the modes.
      deviation: standard deviation of each mode.
      least: least fraction of all samples at a covered mode.

    Returns:
      `modes`, number of covered modes; `high_quality`, fraction of samples near a mode; `mode_share: [K]`, that
      fraction for each mode.
    """
    samples, centers = np.asarray(samples, np.float64), np.asarray(centers, np.float64)
    if samples.ndim != 2 or not len(samples) or centers.ndim != 2 or samples.shape[1] != centers.shape[1]:
        raise ValueError(
            f"samples={samples.shape}, centers={centers.shape}: wrong shapes; allowed: [N, D] and [K, D], N above 0"
        )
    check_shapes(deviation=(deviation, "> 0"), least=(least, "0 to 1"))
    if not len(centers):
        raise ValueError("centers=[0]: none; allowed: at least 1")
    check_finite("samples", samples)
    check_finite("centers", centers)
    distance = np.linalg.norm(samples[:, None] - centers, axis=-1)
    near = distance.min(1) <= 3 * deviation
    fractions = np.bincount(distance.argmin(1)[near], minlength=len(centers)) / len(samples)
    return {"modes": float((fractions >= least).sum()), "high_quality": float(near.mean()), "mode_share": fractions}


def mode_coverage_evaluator(centers: np.ndarray, deviation: float, source: Any, name: str = "sample") -> Evaluator:
    """Build the evaluator of `mode_coverage`.

    Args:
      centers: [K, D], centers of the modes.
      deviation: standard deviation of each mode.
      source: inputs of `predict`, one per sample.
      name: name of the samples among the outputs of `predict`.

    Returns:
      The evaluator of `modes` and `high_quality`.
    """
    check_shapes(centers=(centers, "K D"), deviation=(deviation, "> 0"))

    def add(acc, outputs, rows):
        check_choice("name", name, outputs)
        return [*(acc or []), outputs[name]]

    def finish(acc):
        return mode_coverage(np.concatenate(acc), centers, deviation)

    return Evaluator(add, finish, source, ("modes", "high_quality"))
