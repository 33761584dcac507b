"""One hidden layer of sigmoids comes as near as one likes to any continuous function on an interval, given the width.

Cybenko 1989; Hornik 1991. "Any function" is too much: it must be continuous, on a compact set, and near is meant in
the largest difference. The construction: a steep sigmoid is a step, two of them make a bump, and a sum of bumps a
staircase. With edges a = t_0 < t_1 < ... < t_n = b and heights f_i = f((t_i + t_(i+1)) / 2)

    bump_i(x) = σ(s (x - t_i)) - σ(s (x - t_(i+1)))        1 between its edges, 0 outside
    g(x) = Σ_i f_i bump_i(x)                               2 n hidden neurons: w = s, bias = -s t, output ±f_i

On a stair of width h the error is about the change of f over h / 2, so that it falls like 1 / n where the slope of f is
bounded. At a jump of f, where f is not continuous, half its height remains whatever the width.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["network", "staircase", "step_pair", "sup_error"]

Network = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def step_pair(left: float, right: float, height: float, steepness: float) -> Network:
    """The network of one bump: (w [2], bias [2], output weights [2], output bias).

    Raises:
      ValueError: right is not above left, or steepness is not positive.
    """
    if not left < right or not steepness > 0:
        raise ValueError(f"left={left}, right={right} and steepness={steepness}: left < right and 0 < steepness needed")
    edges = np.array([left, right], float)
    return np.full(2, float(steepness)), -steepness * edges, np.array([height, -height], float), 0.0


def staircase(
    function: Callable[[np.ndarray], np.ndarray], low: float, high: float, steps: int, sharpness: float = 5.0
) -> Network:
    """Bumps of equal width from low to high, as one network of 2 · steps neurons.

    The outermost edges lie ten stairs further out, so that nothing of them is seen inside. sharpness: the width of a
    stair times the steepness; a large one gives flat stairs with sharp edges, about 5 a smooth ascent.

    Raises:
      ValueError: steps is below 1, or see `step_pair`.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    edges = np.linspace(low, high, steps + 1)
    heights = function((edges[1:] + edges[:-1]) / 2)
    width = (high - low) / steps
    outer = edges.copy()
    outer[0], outer[-1] = low - width * 10, high + width * 10
    pairs = [step_pair(a, b, f, sharpness / width) for a, b, f in zip(outer[:-1], outer[1:], heights, strict=True)]
    w, bias, out, _ = zip(*pairs, strict=True)
    return np.concatenate(w), np.concatenate(bias), np.concatenate(out), 0.0


def network(parameters: Network, x: np.ndarray) -> np.ndarray:
    """x: [N] -> Σ_j out_j σ(w_j x + bias_j) + output bias: [N]."""
    from scipy.special import expit

    w, bias, out, level = parameters
    return expit(np.outer(x, w) + bias) @ out + level


def sup_error(
    function: Callable[[np.ndarray], np.ndarray], parameters: Network, low: float, high: float, points: int = 4001
) -> float:
    """The largest |f - g| on a grid of so many points."""
    x = np.linspace(low, high, points)
    return float(np.abs(function(x) - network(parameters, x)).max())
