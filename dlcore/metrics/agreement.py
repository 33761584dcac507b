"""What a confusion matrix says beyond accuracy: agreement corrected for chance. numpy, on the host.

Matthews 1975, Gorodkin 2004 (more than two classes); Cohen 1960.

    balanced accuracy = mean over the classes of the truth of n_cc / n_c.
    kappa = (p_o - p_e) / (1 - p_e)            p_o = sum_c n_cc / n,   p_e = sum_c n_c. n_.c / n^2, agreement by chance
    MCC   = (n sum_c n_cc - sum_c n_c. n_.c) / sqrt((n^2 - sum_c n_c.^2) (n^2 - sum_c n_.c^2))

n_c. are the true and n_.c the predicted counts of class c. A guess that knows nothing has kappa = MCC = 0 and balanced
accuracy 1 / C, however unequal the classes.
"""

import numpy as np

from dlcore.ops.checks import check_counts

__all__ = ["balanced_accuracy", "cohen_kappa", "matthews_correlation"]


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Mean recall over the classes that occur in the truth.

    Args:
      confusion: [C, C], counts, rows true, of `ConfusionMatrix`.

    Returns:
      The mean, in [0, 1].
    """
    n = _counts(confusion)
    target_counts = n.sum(1)
    return float((np.diag(n)[target_counts > 0] / target_counts[target_counts > 0]).mean())


def cohen_kappa(confusion: np.ndarray) -> float:
    """Cohen's kappa: how far the agreement exceeds that of chance.

    Args:
      confusion: [C, C], counts, rows true, of `ConfusionMatrix`.

    Returns:
      At most 1; NaN where truth and predictions are one and the same class.
    """
    n = _counts(confusion)
    # Agreement that is observed, and expected of independent raters with the same marginals.
    observed, expected = np.trace(n) / n.sum(), (n.sum(0) * n.sum(1)).sum() / n.sum() ** 2
    return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")


def matthews_correlation(confusion: np.ndarray) -> float:
    """Matthews' correlation coefficient of truth and predictions.

    Args:
      confusion: [C, C], counts, rows true, of `ConfusionMatrix`.

    Returns:
      In [-1, 1]; 0 where truth or predictions are one class alone.
    """
    n = _counts(confusion)
    total, target_counts, predicted = n.sum(), n.sum(1), n.sum(0)
    # Product of the variances of both label indicators.
    spread = (total**2 - target_counts @ target_counts) * (total**2 - predicted @ predicted)
    return float((total * np.trace(n) - target_counts @ predicted) / np.sqrt(spread)) if spread > 0 else 0.0


def _counts(confusion: np.ndarray) -> np.ndarray:
    confusion = np.asarray(confusion, np.float64)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not confusion.any():
        raise ValueError(f"confusion={confusion.shape}: not square, or without a count; allowed: [C, C]")
    check_counts("confusion", confusion)
    return confusion
