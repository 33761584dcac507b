"""Optimisers that know the curvature, written out: Newton, BFGS and L-BFGS, on the full batch.

Nocedal & Wright, "Numerical Optimization" (2006), chapters 3, 6 and 7. With s = x' - x, y = g' - g, ρ = 1 / y·s:

    Newton:   x <- x - H⁻¹ g                                            no rate; one step solves a quadratic
    BFGS:     B <- (I - ρ s yᵀ) B (I - ρ y sᵀ) + ρ s sᵀ                 B stands for H⁻¹; B y = s
    L-BFGS:   the same product B g from the last m pairs (s, y), without B

They run on the host, one step after the other; a learner takes `optax.lbfgs`, which runs inside jit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.optim.line_search import strong_wolfe

__all__ = ["Path", "bfgs", "bfgs_update", "lbfgs", "lbfgs_direction", "newton_step"]


class Path(NamedTuple):
    """Where a minimiser went: points [T + 1, D], values [T + 1], steps [T], the search's alphas."""

    points: np.ndarray
    values: np.ndarray
    steps: np.ndarray


def newton_step(function: Callable, x: jax.Array, damping: float = 0.0) -> jax.Array:
    """x - (H + damping I)⁻¹ g of a function of x: [D]. Where H is not positive definite it may lead uphill."""
    gradient, hessian = jax.grad(function)(x), jax.hessian(function)(x)
    return x - jnp.linalg.solve(hessian + damping * jnp.eye(x.size, dtype=x.dtype), gradient)


def bfgs_update(inverse: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The next estimate of the inverse Hessian [D, D]; needs y·s > 0, which the Wolfe conditions give."""
    rho = 1 / (y @ s)
    left = np.eye(len(s)) - rho * np.outer(s, y)
    return left @ inverse @ left.T + rho * np.outer(s, s)


def bfgs(function: Callable, x: np.ndarray, steps: int = 100, tolerance: float = 1e-8) -> Path:
    """Minimise a function of x: [D] by BFGS with a strong Wolfe search, until every |g| <= tolerance."""

    def learn(inverse, s, y):
        if inverse is None:
            inverse = np.eye(len(s)) * (s @ y) / (y @ y)
        return bfgs_update(inverse, s, y)

    def direction(inverse, gradient):
        return -gradient if inverse is None else -inverse @ gradient

    return _descend(function, x, None, direction, learn, steps, tolerance)


def lbfgs_direction(gradient: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """-B g by the two loops over the pairs (s, y), oldest first; B starts as (s·y / y·y) I of the newest pair."""
    q, alphas = np.array(gradient), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (y @ s))
        q = q - alphas[-1] * y
    if pairs:
        s, y = pairs[-1]
        q = q * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + s * (alpha - y @ q / (y @ s))
    return -q


def lbfgs(function: Callable, x: np.ndarray, steps: int = 100, memory: int = 10, tolerance: float = 1e-8) -> Path:
    """Minimise a function of x: [D] by L-BFGS with a strong Wolfe search, until every |g| <= tolerance."""
    return _descend(
        function, x, [], lambda pairs, gradient: lbfgs_direction(gradient, pairs),
        lambda pairs, s, y: [*pairs, (s, y)][-memory:], steps, tolerance,
    )  # fmt: skip


def _descend(function, x, start, direction, learn, steps, tolerance) -> Path:
    """`direction(model, gradient)` is where to go, `learn(model, s, y)` the model of the curvature after a step."""
    both = jax.jit(jax.value_and_grad(function))

    def value_and_gradient(x):
        value, gradient = both(x)
        return float(value), np.asarray(gradient, np.float64)

    x, model = np.asarray(x, np.float64), start
    value, gradient = value_and_gradient(x)
    points, values, taken = [x], [value], []
    while len(taken) < steps and np.abs(gradient).max() > tolerance:
        d = direction(model, gradient)
        if not gradient @ d < 0:
            model, d = start, -gradient

        def phi(alpha, x=x, d=d):
            value, gradient = value_and_gradient(x + alpha * d)
            return value, gradient @ d

        first = 1.0 if taken else min(1.0, 1 / np.abs(gradient).sum())
        alpha = strong_wolfe(phi, value, gradient @ d, first=first)
        if alpha == 0:
            break
        s, before = alpha * d, gradient
        x = x + s
        value, gradient = value_and_gradient(x)
        y = gradient - before
        if y @ s > 1e-10 * (y @ y):
            model = learn(model, s, y)
        points.append(x)
        values.append(value)
        taken.append(alpha)
    return Path(np.array(points), np.array(values), np.array(taken))
