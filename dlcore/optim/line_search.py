"""How far to go along a direction: Armijo's backtracking and a search for the strong Wolfe conditions.

Nocedal & Wright, "Numerical Optimization" (2006), chapter 3. With φ(α) = f(x + α d), φ'(0) = g·d < 0:

    Armijo (enough decrease):      φ(α) <= φ(0) + c1 α φ'(0)
    Wolfe, strong (flat enough):   |φ'(α)| <= c2 |φ'(0)|                    0 < c1 < c2 < 1

They run on the host, step by step, to be read and to serve `dlcore.optim.second_order`; inside jit optax has
`scale_by_backtracking_linesearch` and `scale_by_zoom_linesearch`.
"""

import math
from collections.abc import Callable

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["armijo_backtracking", "strong_wolfe"]


def armijo_backtracking(
    phi: Callable[[float], float],
    value: float,
    slope: float,
    *,
    first: float = 1.0,
    c1: float = 1e-4,
    shrink: float = 0.5,
    max_steps: int = 50,
) -> float:
    """Armijo backtracking: the first of `first`, `first * shrink`, ... with enough decrease.

    Args:
      phi: α -> f(x + α d).
      value: φ(0).
      slope: φ'(0), below 0.
      first: α to try first.
      c1: share of the slope that counts as enough decrease, in (0, 1).
      shrink: factor from one α to the next, in (0, 1).
      max_steps: calls of `phi` at most.

    Returns:
      α; 0.0 where none has enough decrease.
    """
    _check(value, slope, c1, c1, first, max_steps)
    if not 0 < shrink < 1:
        raise ValueError(f"shrink={shrink}: out of range; allowed: above 0 and below 1")
    alpha = first
    for _ in range(max_steps):
        if phi(alpha) <= value + c1 * alpha * slope:
            return alpha
        alpha *= shrink
    return 0.0


def strong_wolfe(
    phi: Callable[[float], tuple[float, float]],
    value: float,
    slope: float,
    *,
    first: float = 1.0,
    c1: float = 1e-4,
    c2: float = 0.9,
    max_steps: int = 50,
) -> float:
    """Return an α that meets both strong Wolfe conditions, by bracketing and zooming (algorithms 3.5 and 3.6).

    Args:
      phi: α -> (φ(α), φ'(α)).
      value: φ(0).
      slope: φ'(0), below 0.
      first: α to try first.
      c1: share of the slope that counts as enough decrease, in (0, 1).
      c2: share of the slope that counts as flat, in [c1, 1).
      max_steps: calls of `phi` at most.

    Returns:
      α. Where rounding leaves none within `max_steps`, the one with the lowest value among those with enough decrease;
      0.0 if there is none.
    """
    _check(value, slope, c1, c2, first, max_steps)
    low, low_value, low_slope = 0.0, value, slope
    high = high_value = None
    alpha = first
    for _ in range(max_steps):
        here, here_slope = phi(alpha)
        if not here <= value + c1 * alpha * slope or here >= low_value:
            high, high_value = alpha, here
        else:
            if abs(here_slope) <= -c2 * slope:
                return alpha
            if (high is None and here_slope >= 0) or (high is not None and here_slope * (high - low) >= 0):
                high, high_value = low, low_value
            low, low_value, low_slope = alpha, here, here_slope
        if high is None:
            alpha = 2 * alpha
        elif high == low:
            break
        else:
            alpha = _between(low, low_value, low_slope, high, high_value)
    return low


def _between(low: float, low_value: float, low_slope: float, high: float, high_value: float) -> float:
    """Return the lowest point of the parabola through both ends, at least a tenth of the way from them."""
    width = high - low
    curvature = high_value - low_value - low_slope * width
    fraction = -low_slope * width / (2 * curvature) if curvature > 0 else 0.5
    fraction = fraction if fraction == fraction else 0.5
    return low + width * min(max(fraction, 0.1), 0.9)


def _check(value: float, slope: float, c1: float, c2: float, first: float, max_steps: int) -> None:
    check_shapes(value=(value, "finite"), slope=(slope, "finite"))
    if not slope < 0:
        raise ValueError(f"slope={slope}: the direction does not lead downhill; allowed: below 0")
    if not 0 < c1 <= c2 < 1:
        raise ValueError(f"c1={c1}, c2={c2}: out of range; allowed: 0 < c1 <= c2 < 1")
    if not 0 < first < math.inf:
        raise ValueError(f"first={first}: out of range; allowed: above 0, finite")
    check_whole_number("max_steps", max_steps, 1)
