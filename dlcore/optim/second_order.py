"""Optimizers that know the curvature, written out: Newton, BFGS and L-BFGS, on the full batch.

Nocedal & Wright, "Numerical Optimization" (2006), chapters 3, 6 and 7. With s = x' - x, y = g' - g, ρ = 1 / y·s:

    Newton:   x <- x - H⁻¹ g                                            no learning rate; one step solves a quadratic
    BFGS:     B <- (I - ρ s yᵀ) B (I - ρ y sᵀ) + ρ s sᵀ                 B approximates H⁻¹; B y = s
    L-BFGS:   the same product B g from the last m pairs (s, y), without B

They run on the host, one step after the other; a learner takes `optax.lbfgs`, which runs inside jit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.optim._rules import check_at_least_0
from dlcore.optim.line_search import strong_wolfe

__all__ = ["Path", "bfgs", "bfgs_update", "lbfgs", "lbfgs_direction", "newton_step"]


class Path(NamedTuple):
    """The path of a minimizer over T steps.

    Args:
      points: [T + 1, D], the start and the point after each step.
      values: [T + 1], the function there.
      steps: [T], the line search's α of each step.
    """

    points: np.ndarray
    values: np.ndarray
    steps: np.ndarray


def newton_step(function: Callable, x: jax.Array, damping: float = 0.0) -> jax.Array:
    """One Newton step, x - (H + damping I)⁻¹ g. Where H is not positive definite it may lead uphill.

    Args:
      function: x -> scalar.
      x: [D].
      damping: added to the diagonal of the Hessian, at least 0; 0 for none.

    Returns:
      [D], the next point; not finite where the damped Hessian is singular.
    """
    check_shapes(x=(x, "D"))
    check_at_least_0(damping=damping)
    gradient, hessian = jax.grad(function)(x), jax.hessian(function)(x)
    return x - jnp.linalg.solve(hessian + damping * jnp.eye(x.size, dtype=x.dtype), gradient)


def bfgs_update(inverse: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """BFGS's next estimate of the inverse Hessian.

    Args:
      inverse: [D, D], the estimate before.
      s: [D], the step.
      y: [D], the change of the gradient; y·s > 0, which the Wolfe conditions give.

    Returns:
      [D, D].
    """
    check_shapes(inverse=(inverse, "D D"), s=(s, "D"), y=(y, "D"))
    if not y @ s > 0:
        raise ValueError(f"y·s={y @ s:g}: no positive curvature along the step; allowed: above 0")
    rho = 1 / (y @ s)
    left = np.eye(len(s)) - rho * np.outer(s, y)
    return left @ inverse @ left.T + rho * np.outer(s, s)


def bfgs(function: Callable, x: np.ndarray, steps: int = 100, tolerance: float = 1e-8) -> Path:
    """Minimize a function by BFGS with a strong Wolfe search.

    Args:
      function: x -> scalar.
      x: [D], where to start.
      steps: steps at most.
      tolerance: stop where every entry of the gradient is at most this.

    Returns:
      The points, values and α of its steps.

    Raises:
      ValueError: `x` is not [D] or not finite, or a number is out of range.
    """

    def learn(inverse, s, y):
        if inverse is None:
            inverse = np.eye(len(s)) * (s @ y) / (y @ y)
        return bfgs_update(inverse, s, y)

    def direction(inverse, gradient):
        return -gradient if inverse is None else -inverse @ gradient

    return _descend(function, x, None, direction, learn, steps, tolerance)


def lbfgs_direction(gradient: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """L-BFGS's direction -B g, by the two-loop recursion. B starts as (s·y / y·y) I of the newest pair.

    Args:
      gradient: [D].
      pairs: steps s [D] and changes of the gradient y [D], oldest first; empty for steepest descent.

    Returns:
      [D].
    """
    for s, y in [(gradient, gradient), *pairs]:
        check_shapes(gradient=(gradient, "D finite"), s=(s, "D finite"), y=(y, "D finite"))
    if not all(y @ s > 0 for s, y in pairs):
        raise ValueError("pairs: y·s is not positive; allowed: steps along which the function curves upward")
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
    """Minimize a function by L-BFGS with a strong Wolfe search.

    Args:
      function: x -> scalar.
      x: [D], where to start.
      steps: steps at most.
      memory: pairs (s, y) that are stored.
      tolerance: stop where every entry of the gradient is at most this.

    Returns:
      The points, values and α of its steps.
    """
    check_whole_number("memory", memory, 1)
    return _descend(
        function,
        x,
        [],
        lambda pairs, gradient: lbfgs_direction(gradient, pairs),
        lambda pairs, s, y: [*pairs, (s, y)][-memory:],
        steps,
        tolerance,
    )


def _descend(function, x, start, direction, learn, steps, tolerance) -> Path:
    """Descend along `direction(model, gradient)`; `learn(model, s, y)` updates the model of the curvature."""
    check_shapes(x=(x, "D finite"))
    if not len(x):
        raise ValueError("x=[]: no coordinates; allowed: at least one")
    check_whole_number("steps", steps, 0)
    check_at_least_0(tolerance=tolerance)
    both = jax.jit(jax.value_and_grad(function))

    def value_and_gradient(x):
        value, gradient = both(x)
        return float(value), np.asarray(gradient, np.float64)

    x, model = np.asarray(x, np.float64), start
    value, gradient = value_and_gradient(x)
    points, values, alphas = [x], [value], []
    while len(alphas) < steps and np.abs(gradient).max() > tolerance:
        d = direction(model, gradient)
        if not gradient @ d < 0:
            model, d = start, -gradient

        def phi(alpha, x=x, d=d):
            value, gradient = value_and_gradient(x + alpha * d)
            return value, gradient @ d

        first = 1.0 if alphas else min(1.0, 1 / np.abs(gradient).sum())
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
        alphas.append(alpha)
    return Path(np.array(points), np.array(values), np.array(alphas))
