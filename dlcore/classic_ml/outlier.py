"""Outliers are what a density of the usual examples finds improbable.

Bishop 1994, "Novelty detection and neural network validation".

    reject x where log p(x) < t,      t: the quantile of held-out usual examples that may be lost
    AUROC = P(log p(usual) > log p(outlier)) + P(equal) / 2

The threshold belongs to examples that the density was not fitted to: its own are more probable than new ones.
"""

from typing import Any

import numpy as np

__all__ = ["auroc", "is_outlier", "rejection_threshold"]


def rejection_threshold(log_density: Any, false_alarms: float = 0.05) -> float:
    """The t below which lie `false_alarms` of the log-densities [N] of usual examples.

    Raises:
      ValueError: log_density is not [N] with N of at least 1, holds NaN, or false_alarms is outside [0, 1).
    """
    scores = _scores("log_density", log_density)
    if not 0 <= false_alarms < 1:
        raise ValueError(f"false_alarms is {false_alarms}; it must lie in [0, 1)")
    return float(np.quantile(scores, false_alarms, method="lower"))


def is_outlier(log_density: Any, threshold: float) -> np.ndarray:
    """Which of [N] lie below the threshold -> [N] bool. Raises ValueError as `rejection_threshold` does."""
    return _scores("log_density", log_density) < threshold


def auroc(usual: Any, outliers: Any) -> float:
    """How often a usual example's log-density [N] is above an outlier's [M]; equal ones count half.

    Raises:
      ValueError: one of them is empty, of another rank, or holds NaN.
    """
    from scipy.stats import rankdata

    usual, outliers = _scores("usual", usual), _scores("outliers", outliers)
    n, m = len(usual), len(outliers)
    ranks = rankdata(np.concatenate([usual, outliers]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def _scores(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise ValueError(f"{name} has shape {values.shape}; it must be [N] with N of at least 1, and no NaN")
    return values
