"""Check a gradient against slopes measured by moving each number a little.

    one-sided   (f(x + h) - f(x)) / h             error of order h
    centered    (f(x + h) - f(x - h)) / 2h        error of order h²

`relative_error` and `verdict` of dlcore.diagnostics.gradient_check, which also checks whole networks, judge how far
apart two gradients may be. Squire & Trapp 1998 give the complex-step form, which has no rounding error of a difference.
"""

from collections.abc import Callable

import numpy as np

from dlcore.ops.checks import check_finite

__all__ = ["numerical_gradient"]

TINY = 1e-10


def numerical_gradient(
    function: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5, centered: bool = True
) -> np.ndarray:
    """Measure ∂f/∂x of a scalar function, one number at a time: 2 calls per number (one-sided: n + 1 in all).

    Args:
      function: array of x's shape -> scalar.
      x: point to differentiate at; computed in float64.
      h: step, in [1e-10, 1).
      centered: use f(x + h) - f(x - h); False uses the one-sided f(x + h) - f(x).

    Returns:
      The gradient, of x's shape, float64.
    """
    check_finite("h", h)
    if not TINY <= h < 1:
        raise ValueError(f"h={h}: out of range; allowed: [1e-10, 1)")
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)

    def measure(x):
        if np.size(value := function(x)) != 1:
            raise ValueError(f"function: gives an array of shape {np.shape(value)}; allowed: one number")
        return float(np.squeeze(value))

    here = None if centered else measure(x)
    for i in np.ndindex(x.shape):
        original = x[i]
        x[i] = original + h
        # Centered differences err by O(h²), one-sided ones by O(h).
        up = measure(x)
        x[i] = original - h
        low, width = (measure(x), 2 * h) if centered else (here, h)
        x[i] = original
        gradient[i] = (up - low) / width
    return gradient
