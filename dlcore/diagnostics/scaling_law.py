"""Scaling law: loss as a power of the number of parameters, tokens or operations, with prediction intervals.

Hestness et al. 2017, arXiv:1712.00409; Kaplan et al. 2020, arXiv:2001.08361; Hoffmann et al. 2022, arXiv:2203.15556.

    L(n) = a n^-b + c                                       c: irreducible loss
    prediction at n:  L(n) +- t sqrt(g^T C g + s^2)          g: gradient by (log a, b, c), C: their covariance, s: noise

Least squares: for a given b the problem is linear in a >= 0 and c >= 0, and b is found by line search. C is the
Gauss-Newton covariance s^2 (J^T J)^-1, and t the quantile of Student's distribution; its degrees of freedom are the
measurements less the parameters.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["PowerLaw", "fit_power_law"]


class PowerLaw(NamedTuple):
    """A fitted law L(n) = a n^-b + c.

    Args:
      a: factor, above 0.
      b: exponent.
      c: irreducible loss.
      covariance: [3, 3] of (log a', b, c), a' = a unit^-b.
      noise: standard deviation of the residuals.
      freedom: degrees of freedom, measurements less 3.
      unit: geometric mean of the sizes, the unit of the covariance.
    """

    a: float
    b: float
    c: float
    covariance: np.ndarray
    noise: float
    freedom: int
    unit: float

    def __call__(self, sizes: Any) -> np.ndarray:
        """Evaluate the law.

        Args:
          sizes: n, positive.

        Returns:
          L(n), with the shape of `sizes`.
        """
        check_shapes(sizes=(sizes, "... > 0"))
        return self.a * np.asarray(sizes, np.float64) ** -self.b + self.c

    def interval(self, size: float, confidence: float = 0.95) -> tuple[float, float]:
        """Compute the prediction interval of a new measurement.

        Args:
          size: n, positive.
          confidence: probability of the interval, in (0, 1).

        Returns:
          (lower end, upper end).
        """
        check_shapes(size=(size, "> 0"))
        _check_confidence(confidence)
        from scipy.stats import t

        gradient = _jacobian(np.array([size / self.unit]), np.log(self.a * self.unit**-self.b), self.b)[0]
        spread = np.sqrt(gradient @ self.covariance @ gradient + self.noise**2)
        half = t.ppf((1 + confidence) / 2, self.freedom) * spread
        return float(self(size) - half), float(self(size) + half)

    def exponent_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Compute the confidence interval of the exponent b.

        Args:
          confidence: probability of the interval, in (0, 1).

        Returns:
          (lower end, upper end).
        """
        _check_confidence(confidence)
        from scipy.stats import t

        half = t.ppf((1 + confidence) / 2, self.freedom) * np.sqrt(self.covariance[1, 1])
        return float(self.b - half), float(self.b + half)


def fit_power_law(sizes: Any, losses: Any, max_exponent: float = 3.0) -> PowerLaw:
    """Fit L(n) = a n^-b + c by least squares.

    Args:
      sizes: [N] positive, such as numbers of parameters; sizes may repeat, one per seed.
      losses: [N].
      max_exponent: largest b.

    Returns:
      The law.
    """
    check_shapes(max_exponent=(max_exponent, "> 0.001"))
    check_finite("max_exponent", max_exponent)
    from scipy.optimize import minimize_scalar, nnls

    sizes, losses = np.asarray(sizes, np.float64), np.asarray(losses, np.float64)
    if sizes.ndim != 1 or sizes.shape != losses.shape or len(sizes) < 4 or len(np.unique(sizes)) < 3:
        raise ValueError(
            f"sizes={sizes.tolist()}: {losses.size} losses; allowed: one loss a size, 4 or more of 3 or more sizes"
        )
    if not (np.isfinite(losses).all() and np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError(f"sizes={sizes.tolist()}, losses={losses.tolist()}: allowed: finite numbers, positive sizes")
    unit = float(np.exp(np.log(sizes).mean()))
    x = sizes / unit

    def best(b):
        return nnls(np.stack([x**-b, np.ones_like(x)], 1), losses)

    grid = np.geomspace(1e-3, max_exponent, 200)
    start = int(np.argmin([best(b)[1] for b in grid]))
    low, high = grid[max(start - 1, 0)], grid[min(start + 1, len(grid) - 1)]
    b = float(minimize_scalar(lambda b: best(b)[1], bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x)
    (a, c), _ = best(b)
    if not a > 0:
        raise ValueError(f"losses={losses.tolist()}: do not fall with the size; allowed: losses that do")
    freedom = len(x) - 3
    residuals = losses - a * x**-b - c
    noise = float(np.sqrt(np.square(residuals).sum() / freedom))
    jacobian = _jacobian(x, np.log(a), b)
    covariance = noise**2 * np.linalg.pinv(jacobian.T @ jacobian)
    return PowerLaw(float(a * unit**b), b, float(c), covariance, noise, freedom, unit)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: out of range; allowed: above 0 and below 1")


def _jacobian(x: np.ndarray, log_a: float, b: float) -> np.ndarray:
    """Compute the derivatives [N, 3] of exp(log a) x^-b + c by (log a, b, c)."""
    power = np.exp(log_a) * x**-b
    return np.stack([power, -power * np.log(x), np.ones_like(x)], 1)
