"""How many directions features use, from the spectrum of their matrix: whether they collapse. numpy, on the host.

RankMe, Garrido et al. 2022, arXiv:2210.02885; alpha-ReQ, Agrawal et al. 2022 (NeurIPS); LiDAR, Thilak et al. 2023,
arXiv:2312.04000.

    RankMe = exp(-sum_k p_k log p_k),   p_k = s_k / sum_j s_j            s: singular values of the features [N, D]
    alpha: lambda_k ~ k^-alpha, the slope of log lambda_k by log k       lambda: eigenvalues of their covariance
    LiDAR  = the same exponential of the eigenvalues of W^-1/2 B W^-1/2  B: covariance of the mean embeddings of images
                                                                         W: covariance of views around them, + delta I

RankMe is between 1, all features on one line through 0, and min(N, D). It is not centered, as in the paper: features
that are equal for all images have rank 1. A slope of 0 is a flat spectrum; a large one says that few directions have
most of the variance.
"""

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["COLLAPSE_RATIO", "alpha_req", "is_collapsed", "lidar", "rank_me"]

_ZERO = 1e-7
"""Share of the largest value, up to which a value is rounding."""


def rank_me(features: np.ndarray) -> float:
    """Effective rank of features (RankMe): the exponential of the entropy of their normalized singular values.

    Args:
      features: [N, D], N and D at least 1.

    Returns:
      From 1 to min(N, D); 1 where all features are zero.
    """
    return _exp_entropy(np.linalg.svd(_matrix("features", features, 1), compute_uv=False))


def alpha_req(features: np.ndarray) -> float:
    """Slope of the power law of the covariance's eigenvalues (alpha-ReQ), by least squares of the logarithms.

    Args:
      features: [N, D], N at least 2.

    Returns:
      alpha; 0 for a flat spectrum, infinite where fewer than two eigenvalues are above rounding.
    """
    features = _matrix("features", features, 2)
    eigenvalues = np.square(np.linalg.svd(features - features.mean(0), compute_uv=False)) / (len(features) - 1)
    positive = eigenvalues[eigenvalues > _ZERO**2 * max(np.square(features).mean(), eigenvalues[0])]
    if len(positive) < 2:
        return float("inf")
    return float(-np.polyfit(np.log(np.arange(1, len(positive) + 1)), np.log(positive), 1)[0])


def lidar(embeddings: np.ndarray, delta: float = 1e-4) -> float:
    """Effective rank of the linear discriminant matrix of images' views (LiDAR): directions that views agree on.

    Args:
      embeddings: [N, V, D] of V views of N images, N and V at least 2.
      delta: added to the variances within images, so that they can be inverted; above 0.

    Returns:
      From 1 to D; 1 where the means of all images are equal.
    """
    embeddings = np.asarray(embeddings, np.float64)
    check_shapes(embeddings=(embeddings, "N V D"), delta=(delta, "> 0"))
    n, v, width = embeddings.shape
    if n < 2 or v < 2:
        raise ValueError(f"embeddings={[n, v, width]}: no spread; allowed: at least 2 images and 2 views of each")
    check_finite("embeddings", embeddings)
    means = embeddings.mean(1)  # [N, D]
    centered, within = means - means.mean(0), (embeddings - means[:, None]).reshape(-1, width)
    variances, axes = np.linalg.eigh(within.T @ within / (n * (v - 1)))
    # The eigenvalues of W^-1/2 B W^-1/2 are the squared singular values of the whitened means.
    whitened = centered @ axes / np.sqrt(np.maximum(variances, 0) + delta)
    return _exp_entropy(np.square(np.linalg.svd(whitened, compute_uv=False)))


def _matrix(name: str, values: np.ndarray, least: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    check_shapes(**{name: (values, "N D")})
    if len(values) < least or not values.shape[1]:
        raise ValueError(f"{name}={list(values.shape)}: too few; allowed: at least {least} of 1 number or more")
    check_finite(name, values)
    return values


def _exp_entropy(values: np.ndarray) -> float:
    """exp of the entropy of values [K] at least 0, scaled to the sum 1; 1 where all are zero."""
    probs = values[values > _ZERO * values.max(initial=0)]
    if not len(probs):
        return 1.0
    probs = probs / probs.sum()
    return float(np.exp(-(probs * np.log(probs)).sum()))


COLLAPSE_RATIO = 0.5
"""Features are collapsed where their rank is below this share of the untrained network's."""


def is_collapsed(rank: float, untrained_rank: float) -> bool:
    """Return whether features have collapsed.

    Args:
      rank: RankMe of the trained network's features, or of its head's embeddings.
      untrained_rank: RankMe of the untrained network's features.

    Returns:
      True where the rank is below half of the untrained network's.
    """
    check_shapes(rank=(rank, ">= 1"), untrained_rank=(untrained_rank, ">= 1"))
    return rank < COLLAPSE_RATIO * untrained_rank
