"""Principal components by the singular value decomposition of the data, and how many of them are needed.

Pearson 1901; Hotelling 1933; Eckart & Young 1936 (no k directions leave a smaller residual).

    X - mean = U S V^T          directions: columns of V; variances: S^2 / N; share of the first k: Σ_k S^2 / Σ S^2

`dlcore.data.preprocess.fit_pca` computes the same from the covariance [D, D], a chunk of the data at a time. The SVD of
the data keeps the digits of small variances; in the covariance, rounding hides those below 1e-16 of the largest, that
is S below 1e-8.
"""

from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.points import check_points
from dlcore.data.preprocess import PCA
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["cumulative_variance", "fit_svd", "num_components_for"]


def fit_svd(x: Any, num_components: int | None = None) -> PCA:
    """Fit PCA by SVD in float64 on the host; each column's largest entry is made positive.

    Args:
      x: [N, D], finite.
      num_components: number of leading directions; None takes all min(N, D).

    Returns:
      PCA.
    """
    check_points("x", x)
    x = np.asarray(x, np.float64)
    most = min(x.shape)
    count = most if num_components is None else num_components
    check_whole_number("num_components", count)
    if not 1 <= count <= most:
        raise ValueError(f"num_components={num_components}: out of range; allowed: 1..{most}")
    mean = x.mean(0)
    _, singular, directions = np.linalg.svd(x - mean, full_matrices=False)
    basis = directions[:count].T  # [D, K]
    # Singular vectors have no sign of their own: fix it.
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(count)])
    return PCA(mean, basis, np.square(singular[:count]) / len(x), x.shape[1:])


def cumulative_variance(variance: Any) -> np.ndarray:
    """Compute the share of the variance that the first 1, 2, ... components explain.

    Args:
      variance: [K], largest first.

    Returns:
      [K], ascending to 1.
    """
    check_shapes(variance=(variance, "K"))
    variance = np.asarray(variance, np.float64)
    if variance.ndim != 1 or not variance.size or not (np.diff(variance) <= 0).all() or not variance[-1] >= 0:
        raise ValueError(f"variance={variance}: not descending; allowed: [K], none negative, the largest first")
    check_finite("variance", variance)
    if not variance[0] > 0:
        raise ValueError(f"variance[0]={variance[0]}: nothing varies; allowed: a positive largest variance")
    return variance.cumsum() / variance.sum()


def num_components_for(variance: Any, share: float) -> int:
    """Count the components needed to explain a share of the variance.

    Args:
      variance: [K], of all components, largest first.
      share: fraction of the variance, in (0, 1].

    Returns:
      The smallest sufficient number.
    """
    check_shapes(share=(share, "0 to 1"))
    check_finite("share", share)
    if not 0 < share <= 1:
        raise ValueError(f"share={share}: out of range; allowed: (0, 1]")
    return min(int(np.searchsorted(cumulative_variance(variance), share - 1e-12)) + 1, len(variance))
