"""Precision, recall, density and coverage of generated samples: neighborhoods in a network's features.

Kynkäänniemi et al. 2019, arXiv:1904.06991 (precision and recall); Naeem et al. 2020, arXiv:2002.09797 (density and
coverage). With r_k(x) the distance from x to the k-th nearest other point of its own set, real x_i and samples y_j:

    precision = mean_j [some i: |y_j - x_i| < r_k(x_i)]         recall   = mean_i [some j: |x_i - y_j| < r_k(y_j)]
    density   = mean_j sum_i [|y_j - x_i| < r_k(x_i)] / k       coverage = mean_i [some j: |x_i - y_j| < r_k(x_i)]

Precision and density tell how real samples look, recall and coverage how much of the variety they have. One odd real
image has a large ball, which density and coverage mind less. As in the authors' `prdc`, distances are compared
strictly, and k = 5. For two sets of N from one distribution, density is 1 and coverage 1 - 2^-k in expectation; recall
and coverage grow with the number of samples, so sets should be of one size.
"""

from typing import NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["Neighborhoods", "half_interval", "neighborhoods"]

_BLOCK = 1024
"""Rows of a block of distances: 80 MB beside 10,000 others, in float64."""


class Neighborhoods(NamedTuple):
    """Values by point; their means are the four measures.

    Args:
      precision: [M], 1 for samples in the ball of a real image, else 0.
      recall: [N], 1 for real images in the ball of a sample, else 0.
      density: [M], real images whose ball holds the sample, over k.
      coverage: [N], 1 for real images whose ball holds a sample, else 0.
    """

    precision: np.ndarray
    recall: np.ndarray
    density: np.ndarray
    coverage: np.ndarray


def neighborhoods(real: np.ndarray, samples: np.ndarray, k: int = 5) -> Neighborhoods:
    """Compare two sets of features by the balls around their points.

    Args:
      real: [N, D], features of real images.
      samples: [M, D], features of samples.
      k: neighbor that a ball reaches, from 1 to below N and M.

    Returns:
      The values of every point, float64.
    """
    real, samples = np.asarray(real, np.float64), np.asarray(samples, np.float64)
    if real.ndim != 2 or samples.ndim != 2 or real.shape[1] != samples.shape[1]:
        raise ValueError(
            f"real={real.shape}, samples={samples.shape}: wrong shapes; allowed: [N, D] and [M, D] of one width D"
        )
    check_whole_number("k", k)
    if not 1 <= k < min(len(real), len(samples)):
        most = min(len(real), len(samples)) - 1
        raise ValueError(f"k={k}: out of range; allowed: 1 to {most}, below the number of points of each set")
    check_finite("real", real)
    check_finite("samples", samples)
    center = real.mean(0)  # squares of small numbers lose fewer digits
    real, samples = real - center, samples - center
    real_radii, sample_radii = _radii(real, k), _radii(samples, k)
    density, recall, coverage = np.zeros(len(samples)), np.zeros(len(real)), np.zeros(len(real))
    for first in range(0, len(real), _BLOCK):
        rows = slice(first, first + _BLOCK)
        squares = _squares(real[rows], samples)
        inside = squares < real_radii[rows, None]
        density += inside.sum(0)
        coverage[rows] = inside.any(1)
        recall[rows] = (squares < sample_radii).any(1)
    return Neighborhoods((density > 0).astype(float), recall, density / k, coverage)


def half_interval(values: np.ndarray) -> float:
    """Compute half of the 95 % interval of a mean over points: 1.96 s / sqrt(n).

    Args:
      values: [N], N at least 2.

    Returns:
      Half of the width. It covers the choice of these points, not that of the other set.
    """
    check_shapes(values=(values, "N"))
    if len(values) < 2:
        raise ValueError(f"values={len(values)} numbers: too few for an interval; allowed: at least 2")
    return float(1.96 * np.std(values, ddof=1, dtype=np.float64) / np.sqrt(len(values)))


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each point to its k-th nearest other one, [N]."""
    parts = []
    for first in range(0, len(points), _BLOCK):
        squares = _squares(points[first : first + _BLOCK], points)
        rows = np.arange(len(squares))
        squares[rows, first + rows] = -1.0  # the point itself stays first among its copies
        parts.append(np.partition(squares, k, axis=1)[:, k])
    return np.concatenate(parts)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs, [A, B]."""
    return (np.square(a).sum(1)[:, None] - 2 * a @ b.T + np.square(b).sum(1)).clip(0)
