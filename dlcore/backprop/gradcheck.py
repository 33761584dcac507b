"""Is a gradient right? Compare it with slopes measured by moving each number a little.

    one-sided   (f(x + h) - f(x)) / h             error of order h
    centred     (f(x + h) - f(x - h)) / 2h        error of order h²

How far two gradients may be apart is `relative_error` and `verdict` of dlcore.diagnostics.gradient_check, which also
checks whole networks.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["numerical_gradient"]

TINY = 1e-10


def numerical_gradient(
    function: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5, centred: bool = True
) -> np.ndarray:
    """∂f/∂x of a scalar function, one number after the other: 2 calls a number (n + 1 in all where one-sided).

    Raises:
      ValueError: h is below 1e-10, where rounding takes over, or not a small positive number.
    """
    if not TINY <= h < 1:
        raise ValueError(f"h={h} must lie in [1e-10, 1)")
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    here = None if centred else float(function(x))
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        up = float(function(x))
        x[i] = kept - h
        low, width = (float(function(x)), 2 * h) if centred else (here, h)
        x[i] = kept
        gradient[i] = (up - low) / width
    return gradient
