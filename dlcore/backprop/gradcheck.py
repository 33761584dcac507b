"""Is a gradient right? Compare it with slopes measured by moving each number a little.

    one-sided   (f(x + h) - f(x)) / h             error of order h
    centred     (f(x + h) - f(x - h)) / 2h        error of order h²
    relative error   |a - n| / max(|a|, |n|)      or over |a| + |n|, half of that for near values

With h = 1e-5 in float64 an error above 1e-2 is a wrong gradient, above 1e-4 a reason to worry, up to 1e-4 fine for
functions with kinks (ReLU, max), and below 1e-7 right. Gradients below 1e-10 are noise: they are not compared.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

__all__ = ["judge", "numerical_gradient", "relative_error"]

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


def relative_error(a: np.ndarray, b: np.ndarray, over: Literal["max", "sum"] = "max") -> float:
    """The largest |a - b| / max(|a|, |b|), or over |a| + |b|; pairs of which both are below 1e-10 count as equal.

    Raises:
      ValueError: the shapes differ, or `over` is neither.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"the gradients have shapes {a.shape} and {b.shape}")
    if over not in ("max", "sum"):
        raise ValueError(f"over={over!r} is unknown; allowed are max, sum")
    sizes = np.abs(a), np.abs(b)
    scale = np.maximum(*sizes) if over == "max" else sizes[0] + sizes[1]
    tiny = np.maximum(*sizes) < TINY
    return float(np.max(np.where(tiny, 0, np.abs(a - b) / np.where(tiny, 1, scale)), initial=0.0))


def judge(error: float) -> str:
    """What a relative error says: "wrong", "doubtful", "fine with kinks" or "right"."""
    if not error <= 1e-2:
        return "wrong"
    if error > 1e-4:
        return "doubtful"
    return "fine with kinks" if error > 1e-7 else "right"
