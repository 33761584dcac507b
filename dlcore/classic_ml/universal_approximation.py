"""One hidden layer of sigmoids approximates any continuous function on an interval, given enough width.

Cybenko 1989; Hornik 1991. The function must be continuous on a compact set, and the error is the largest difference.
The construction: a steep sigmoid is a step, two of them make a bump, and a sum of bumps a staircase. With edges
a = t_0 < t_1 < ... < t_n = b and heights f_i = f((t_i + t_(i+1)) / 2)

    bump_i(x) = σ(s (x - t_i)) - σ(s (x - t_(i+1)))        1 between its edges, 0 outside
    g(x) = Σ_i f_i bump_i(x)                               2 n hidden neurons: w = s, bias = -s t, output ±f_i

On a stair of width h the error is about the change of f over h / 2, so it falls like 1 / n where the slope of f is
bounded. At a jump of f half its height remains, whatever the width.
"""

from collections.abc import Callable

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["network", "staircase", "step_pair", "sup_error"]

Network = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def step_pair(left: float, right: float, height: float, steepness: float) -> Network:
    """Build the network of one bump from two sigmoids.

    Args:
      left: edge where the bump rises.
      right: edge where it falls, above `left`.
      height: height of the bump.
      steepness: steepness of both sigmoids, positive.

    Returns:
      (w [2], bias [2], output weights [2], output bias).
    """
    check_shapes(left=(left, "finite"), right=(right, "finite"), height=(height, "finite"))
    check_shapes(steepness=(steepness, "finite"))
    if not left < right or not steepness > 0:
        raise ValueError(
            f"left={left}, right={right}, steepness={steepness}: no bump; allowed: left < right, 0 < steepness"
        )
    edges = np.array([left, right], float)
    return np.full(2, float(steepness)), -steepness * edges, np.array([height, -height], float), 0.0


def staircase(
    function: Callable[[np.ndarray], np.ndarray], low: float, high: float, steps: int, sharpness: float = 5.0
) -> Network:
    """Build one network of 2 · steps neurons whose bumps of equal width follow a function.

    The two outermost edges lie ten stairs farther out, so that they do not affect the interval.

    Args:
      function: x [N] -> values [N].
      low: left end of the interval.
      high: right end of the interval.
      steps: number of bumps.
      sharpness: width of a stair times the steepness; large gives flat stairs with sharp edges, about 5 a smooth slope.

    Returns:
      (w, bias, output weights, output bias).
    """
    check_whole_number("steps", steps, 1)
    _check_interval(low, high)
    check_shapes(sharpness=(sharpness, "> 0"))
    edges = np.linspace(low, high, steps + 1)
    heights = _values(function, (edges[1:] + edges[:-1]) / 2)
    width = (high - low) / steps
    outer = edges.copy()
    outer[0], outer[-1] = low - width * 10, high + width * 10
    pairs = [step_pair(a, b, f, sharpness / width) for a, b, f in zip(outer[:-1], outer[1:], heights, strict=True)]
    w, bias, out, _ = zip(*pairs, strict=True)
    return np.concatenate(w), np.concatenate(bias), np.concatenate(out), 0.0


def network(parameters: Network, x: np.ndarray) -> np.ndarray:
    """Evaluate Σ_j out_j σ(w_j x + bias_j) + output bias.

    Args:
      parameters: parameters from `staircase` or `step_pair`.
      x: [N].

    Returns:
      [N].
    """
    if not isinstance(parameters, tuple | list) or len(parameters) != 4:
        raise ValueError("parameters: no network; allowed: (w, bias, output weights, output bias)")
    from scipy.special import expit

    w, bias, out, level = parameters
    check_shapes(x=(x, "N"), w=(w, "J"), bias=(bias, "J"), out=(out, "J"), level=(level, "finite"))
    return expit(np.outer(x, w) + bias) @ out + level


def sup_error(
    function: Callable[[np.ndarray], np.ndarray], parameters: Network, low: float, high: float, points: int = 4001
) -> float:
    """Largest |f - g| on an even grid.

    Args:
      function: f, x [N] -> values [N].
      parameters: parameters of the network g.
      low: left end of the interval.
      high: right end of the interval.
      points: points of the grid.

    Returns:
      The error.
    """
    _check_interval(low, high)
    check_whole_number("points", points, 1)
    x = np.linspace(low, high, points)
    return float(np.abs(_values(function, x) - network(parameters, x)).max())


def _check_interval(low: float, high: float) -> None:
    check_shapes(low=(low, ""), high=(high, ""))
    check_finite("low", low)
    check_finite("high", high)
    if not low < high:
        raise ValueError(f"low={low}, high={high}: no interval; allowed: low < high")


def _values(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    values = np.asarray(function(x))
    if values.shape != x.shape:
        raise ValueError(f"function: gives values of shape {values.shape}; allowed: {x.shape}, one for each x")
    return values
