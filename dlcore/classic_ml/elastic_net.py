"""Linear regression with few weights: the lasso and the elastic net by coordinate descent.

Tibshirani 1996 (lasso); Zou & Hastie 2005 (elastic net); Friedman, Hastie & Tibshirani 2010 (coordinate descent).

    minimize 1/(2N) |y - X w - b|² + α (ρ |w|₁ + (1 - ρ)/2 |w|²)
    w_d <- S(x_d·r / N, α ρ) / (|x_d|² / N + α (1 - ρ)),    S(v, t) = sign(v) max(|v| - t, 0)

on centered data, b = mean y - w·mean x; r is the residual without dimension d. Each dimension in turn is solved
exactly, until no weight moves by more than the tolerance. ρ = 1 is the lasso; ρ = 0 is ridge regression, for which
`least_squares(x, y, l2=N α)` has the closed form. Of correlated dimensions the lasso takes one, and the elastic net
shares between them.
"""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.linear_regression import check_regression
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["elastic_net", "lasso"]


def elastic_net(
    x: np.ndarray,
    y: np.ndarray,
    alpha: float = 1.0,
    l1_ratio: float = 0.5,
    *,
    iterations: int = 1000,
    tolerance: float = 1e-8,
) -> tuple[np.ndarray, float]:
    """Fit an elastic net, in float64.

    Args:
      x: [N, D].
      y: [N].
      alpha: α, strength of both penalties, at least 0.
      l1_ratio: ρ, in [0, 1].
      iterations: passes over the dimensions, at most.
      tolerance: a pass that moves no weight by more than this share of the largest is the last.

    Returns:
      (w [D], b).
    """
    x, y = check_regression(x, y)
    for name, value in (("alpha", alpha), ("tolerance", tolerance)):
        check_shapes(**{name: (value, ">= 0")})
        check_finite(name, value)
    check_shapes(l1_ratio=(l1_ratio, "0 to 1"))
    check_finite("l1_ratio", l1_ratio)
    check_whole_number("iterations", iterations, 1)
    center, level, n = x.mean(0), y.mean(), len(x)
    columns, residual, w = (x - center).T, y - level, np.zeros(x.shape[1])
    curvature = np.square(columns).sum(1) / n + alpha * (1 - l1_ratio)  # [D]
    for _ in range(iterations):
        before = w.copy()
        for d in np.flatnonzero(curvature):
            # Coordinate descent: soft-threshold the correlation with the residual.
            slope = columns[d] @ residual / n + (curvature[d] - alpha * (1 - l1_ratio)) * w[d]
            new = np.sign(slope) * max(abs(slope) - alpha * l1_ratio, 0) / curvature[d]
            # The residual is updated, not computed again: O(N) a coordinate.
            residual -= (new - w[d]) * columns[d]
            w[d] = new
        if np.abs(w - before).max() <= tolerance * np.abs(w).max():
            break
    return w, float(level - w @ center)


def lasso(
    x: np.ndarray, y: np.ndarray, alpha: float = 1.0, *, iterations: int = 1000, tolerance: float = 1e-8
) -> tuple[np.ndarray, float]:
    """Fit a lasso, the elastic net whose penalty is L1 alone.

    Args:
      x: [N, D].
      y: [N].
      alpha: strength of the penalty, at least 0; from max |X^T y| / N of centered data on all weights are 0.
      iterations: passes over the dimensions, at most.
      tolerance: a pass that moves no weight by more than this share of the largest is the last.

    Returns:
      (w [D], b).

    Raises:
      ValueError: see `elastic_net`.
    """
    return elastic_net(x, y, alpha, 1.0, iterations=iterations, tolerance=tolerance)
