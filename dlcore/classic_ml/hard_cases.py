"""Problems in the plane that one template per class cannot solve, and a transform after which it can.

xor          y = [x_1 x_2 > 0]                         opposite quadrants share a class
annulus      y = [1 < r < 2]                           a ring around a disc
three modes  y = 1 in three discs on a line            discs of the other class lie between them
parity       y = (sum of bits) mod 2 of D bits         xor of more than two

polar: (x_1, x_2) -> (r, θ) = (|x|, atan2(x_2, x_1))   rings become stripes: r = 0.95 separates a disc from a ring
"""

from collections.abc import Callable

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes, check_values

__all__ = ["PROBLEMS", "annulus", "linear_bound", "parity", "polar", "three_modes", "xor"]


def xor(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """XOR: points in opposite quadrants share a class, none within 0.05 of an axis.

    Args:
      n: number of points.
      seed: random seed of the points.

    Returns:
      (points [n, 2] in [-1, 1]², labels [n]: 1 where the coordinates have the same sign).
    """
    _check_numbers(n, seed)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.05, 1, (n, 2)) * rng.choice((-1, 1), (n, 2))
    return x, (x.prod(1) > 0).astype(int)


def annulus(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a disc of radius 0.9 (label 0) inside a ring with radius in [1, 2] (label 1).

    Args:
      n: number of points.
      seed: random seed of the points.

    Returns:
      (points [n, 2], labels [n]).
    """
    _check_numbers(n, seed)
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    return _on_circles(np.where(label == 1, rng.uniform(1, 2, n), rng.uniform(0, 0.9, n)), rng), label


def three_modes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs of radius 0.4 about x_1 = -2, 0, 2 (label 1) and about -3, -1, 1, 3 (label 0).

    Args:
      n: number of points.
      seed: random seed of the points.

    Returns:
      (points [n, 2], labels [n]).
    """
    _check_numbers(n, seed)
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    center = np.where(label == 1, rng.choice((-2, 0, 2), n), rng.choice((-3, -1, 1, 3), n))
    return _on_circles(0.4 * np.sqrt(rng.random(n)), rng) + np.stack([center, np.zeros(n)], 1), label


def parity(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Parity: whether the number of ones among the bits is odd.

    Args:
      bits: in [2, 16].

    Returns:
      (all 2^bits points of {-1, 1}^bits, labels [2^bits]: 1 where the number of ones is odd).
    """
    check_whole_number("bits", bits)
    if not 2 <= bits <= 16:
        raise ValueError(f"bits={bits}: out of range; allowed: [2, 16]")
    on = np.arange(2**bits)[:, None] >> np.arange(bits) & 1
    return 2.0 * on - 1, on.sum(1) % 2


PROBLEMS: dict[str, Callable[[int, int], tuple[np.ndarray, np.ndarray]]] = {
    "xor": xor,
    "annulus": annulus,
    "three modes": three_modes,
}


def polar(x: np.ndarray) -> np.ndarray:
    """Convert points to polar coordinates.

    Args:
      x: [N, 2].

    Returns:
      [N, 2], radius and angle in (-π, π].
    """
    check_shapes(x=(x, "N 2"))
    x = np.asarray(x)
    return np.stack([np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])], 1)


def linear_bound(x: np.ndarray, label: np.ndarray, directions: int = 360) -> float:
    """Find the best accuracy of any line with one of `directions` evenly spaced normals.

    Args:
      x: [N, 2].
      label: [N], 0 or 1.
      directions: number of normals tried.

    Returns:
      Accuracy in [0, 1].
    """
    check_shapes(x=(x, "N 2 finite"), label=(label, "N"))
    if not len(x):
        raise ValueError(f"x.shape={np.shape(x)}: empty; allowed: at least one point")
    check_values("label", label, (0, 1))
    x, label = np.asarray(x), np.asarray(label)
    check_whole_number("directions", directions, 1)
    angle = 2 * np.pi * np.arange(directions) / directions
    height = x @ np.stack([np.cos(angle), np.sin(angle)])
    right = label[np.argsort(height, 0)] == 1
    # Below the line class 0, above it class 1, for a line after each of the sorted points.
    zeros = np.concatenate([np.zeros((1, directions), int), np.cumsum(~right, 0)])
    ones = right.sum(0) - np.concatenate([np.zeros((1, directions), int), np.cumsum(right, 0)])
    return float((zeros + ones).max() / len(x))


def _on_circles(radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(-np.pi, np.pi, len(radius))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _check_numbers(n: int, seed: int) -> None:
    check_whole_number("n", n, 1)
    check_whole_number("seed", seed, 0)
