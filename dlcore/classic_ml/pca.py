"""Principal components by the singular values of the data itself, and how many of them are needed.

Pearson 1901; Hotelling 1933; Eckart & Young 1936 (no k directions leave less behind).

    X - mean = U S V^T          directions: columns of V; variances: S^2 / N; the share of the first k: Σ_k S^2 / Σ S^2

`dlcore.data.preprocess.fit_pca` finds the same from the covariance [D, D], a piece of the data at a time. Without the
covariance small variances keep their digits: in it, rounding hides those below 1e-16 of the largest, an S of 1e-8.
"""

from typing import Any

import numpy as np

from dlcore.classic_ml.points import check_points
from dlcore.data.preprocess import PCA

__all__ = ["cumulative_variance", "fit_svd", "num_components_for"]


def fit_svd(x: Any, num_components: int | None = None) -> PCA:
    """The leading directions of x: [N, D]; None: all min(N, D). Float64, on the host.

    Signs are chosen so that each column's largest entry is positive.

    Raises:
      ValueError: x is not finite [N, D], or num_components is outside [1, min(N, D)].
    """
    check_points("x", x)
    x = np.asarray(x, np.float64)
    most = min(x.shape)
    count = most if num_components is None else num_components
    if not 1 <= count <= most:
        raise ValueError(f"num_components is {num_components}; with x of shape {x.shape} it must be in 1..{most}")
    mean = x.mean(0)
    _, singular, directions = np.linalg.svd(x - mean, full_matrices=False)
    basis = directions[:count].T
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(count)])
    return PCA(mean, basis, np.square(singular[:count]) / len(x), x.shape[1:])


def cumulative_variance(variance: Any) -> np.ndarray:
    """The share of all variance that the first 1, 2, ... of variance: [K], largest first, hold -> [K].

    Raises:
      ValueError: variance is not [K], rises somewhere, or holds a negative number or no positive one.
    """
    variance = np.asarray(variance, np.float64)
    if variance.ndim != 1 or not variance.size or (np.diff(variance) > 0).any() or variance[-1] < 0:
        raise ValueError(f"variance has shape {variance.shape}; it must be [K], none negative, the largest first")
    if not variance[0] > 0:
        raise ValueError(f"variance starts with {variance[0]}; its largest must be positive")
    return variance.cumsum() / variance.sum()


def num_components_for(variance: Any, share: float) -> int:
    """The fewest components that hold `share` of the variance: [K], all of them, largest first.

    Raises:
      ValueError: share is outside (0, 1], or as `cumulative_variance`.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must lie in (0, 1]")
    return min(int(np.searchsorted(cumulative_variance(variance), share - 1e-12)) + 1, len(variance))
