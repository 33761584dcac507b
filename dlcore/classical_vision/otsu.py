"""Otsu's threshold: cut a histogram where the two parts differ most.

Otsu 1979, "A threshold selection method from gray-level histograms".

    t* = argmax_t  n_0(t) n_1(t) (mean_0(t) - mean_1(t))^2
"""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite

__all__ = ["otsu_threshold"]


def otsu_threshold(values: np.ndarray, bins: int = 256) -> float:
    """Find the threshold with the largest variance between the classes.

    Args:
      values: any shape, finite.
      bins: bins of the histogram between the least and the largest value.

    Returns:
      The middle of a bin; the upper class is what is larger. For equal values it is their value.
    """
    check_finite("values", values)
    values = np.asarray(values, np.float64).ravel()
    if not len(values):
        raise ValueError("values: there are none; allowed: at least one")
    check_whole_number("bins", bins, 2)
    if values.min() == values.max():
        return float(values[0])
    counts, borders = np.histogram(values, bins)
    centers = (borders[:-1] + borders[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centers) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * centers)[::-1]) / np.maximum(np.cumsum(counts[::-1]), 1))[::-1]
    # Variance between the classes at each threshold, up to a factor.
    between = below[:-1] * above[1:] * np.square(mean_below[:-1] - mean_above[1:])
    return float(centers[between.argmax()])
