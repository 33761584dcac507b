"""How many modes of a known mixture a generator finds, and how many of its samples lie on one.

Srivastava et al. 2017, arXiv:1705.07761:

    a sample is of high quality where it lies within 3 deviations of its nearest mode;
    a mode is covered where at least `least` of all samples are its high-quality samples

The original counts a mode from its first sample on; here it takes 1 % of the samples, where a fair share of 8 modes is
12.5 %, so that a stray does not count.
"""

from typing import Any

import numpy as np

from dlcore.learner import Evaluator

__all__ = ["evaluator", "mode_coverage"]


def mode_coverage(
    samples: np.ndarray, centres: np.ndarray, deviation: float, least: float = 0.01
) -> dict[str, float | np.ndarray]:
    """`modes` covered, `high_quality` share, and `mode_share` [K] of samples [N, D] for modes at centres [K, D].

    Raises:
      ValueError: shapes do not fit, or there is no sample.
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    if samples.ndim != 2 or not len(samples) or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(f"samples has shape {samples.shape} and centres {centres.shape}; [N, D] and [K, D] are needed")
    distance = np.linalg.norm(samples[:, None] - centres, axis=-1)
    near = distance.min(1) <= 3 * deviation
    share = np.bincount(distance.argmin(1)[near], minlength=len(centres)) / len(samples)
    return {"modes": float((share >= least).sum()), "high_quality": float(near.mean()), "mode_share": share}


def evaluator(centres: np.ndarray, deviation: float, source: Any, name: str = "sample") -> Evaluator:
    """`mode_coverage` of what `predict` calls `name`, over `source`."""

    def add(acc, outputs, rows):
        return [*(acc or []), outputs[name]]

    return Evaluator(add, lambda acc: mode_coverage(np.concatenate(acc), centres, deviation), source)
