"""Outlier detection: reject what a density of the inliers finds improbable.

Bishop 1994, "Novelty detection and neural network validation".

    reject x where log p(x) < t,      t: the quantile of held-out inliers given by the false alarm rate
    AUROC = P(log p(inlier) > log p(outlier)) + P(equal) / 2

The threshold needs examples that the density was not fitted to: its own training examples are more probable than new
ones.
"""

from typing import Any

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["auroc", "is_outlier", "rejection_threshold"]


def rejection_threshold(log_density: Any, false_alarm_rate: float = 0.05) -> float:
    """Choose the threshold that rejects a given fraction of inliers.

    Args:
      log_density: [N], of held-out inliers.
      false_alarm_rate: fraction of inliers rejected at most, in [0, 1).

    Returns:
      The threshold t; below it, examples are outliers.
    """
    scores = _scores("log_density", log_density)
    check_shapes(false_alarm_rate=(false_alarm_rate, "0 to <1"))
    check_finite("false_alarm_rate", false_alarm_rate)
    return float(np.quantile(scores, false_alarm_rate, method="lower"))


def is_outlier(log_density: Any, threshold: float) -> np.ndarray:
    """Mark the examples whose log-density is below the threshold.

    Args:
      log_density: [N].
      threshold: threshold from `rejection_threshold`.

    Returns:
      [N] bool.
    """
    if np.ndim(threshold) or np.asarray(threshold).dtype.kind not in "iuf" or np.isnan(threshold):
        raise ValueError(f"threshold={threshold}: no number; allowed: a number, or an infinity")
    return _scores("log_density", log_density) < threshold


def auroc(inliers: Any, outliers: Any) -> float:
    """Area under the ROC curve: how often an inlier's log-density is above an outlier's; ties count half.

    Args:
      inliers: [N], log-densities.
      outliers: [M], log-densities.

    Returns:
      Area in [0, 1]; 0.5 is chance.

    Raises:
      ValueError: one of them is empty, has another rank, or holds NaN.
    """
    from scipy.stats import rankdata

    inliers, outliers = _scores("inliers", inliers), _scores("outliers", outliers)
    n, m = len(inliers), len(outliers)
    # Mann-Whitney: AUROC from the ranks of the inliers.
    ranks = rankdata(np.concatenate([inliers, outliers]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def _scores(name: str, values: Any) -> np.ndarray:
    check_shapes(**{name: (values, "N")})
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise ValueError(f"{name}.shape={values.shape}: wrong shape or NaN; allowed: [N] with N of at least 1, no NaN")
    return values
