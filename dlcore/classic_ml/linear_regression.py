"""Linear regression: least squares in closed form, or by gradient steps with momentum.

    closed form   minimize |y - X w - b|² + λ |w|²:    (XᵀX + λ I) w = Xᵀ y  on centered data, b = mean y - w·mean x
    by steps      v <- ρ v + (y - wᵀx) x,    w <- w + α v        one example after the other; the bias is a 1 in x

λ = 0 is ordinary least squares, λ > 0 ridge regression (Hoerl & Kennard 1970). On noisy data, steps with a constant
learning rate hover around the solution, so the learning rate falls linearly to 0. The error of one example (the delta
rule of Widrow & Hoff 1960) becomes the mean over a minibatch where `batch_size` is above one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.learner import root_key
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["check_regression", "least_squares", "momentum_regression"]


def least_squares(x: np.ndarray, y: np.ndarray, l2: float = 0.0) -> tuple[np.ndarray, float]:
    """Solve linear least squares in closed form, in float64.

    Args:
      x: [N, D].
      y: [N].
      l2: ridge penalty λ; 0 is ordinary least squares.

    Returns:
      (w [D], b).
    """
    x, y = check_regression(x, y)
    check_shapes(l2=(l2, ">= 0"))
    check_finite("l2", l2)
    center, level = x.mean(0), y.mean()
    # Centered data need no column for the bias, so that it is not penalized.
    if l2 == 0:
        w = np.linalg.lstsq(x - center, y - level, rcond=None)[0]
    else:
        w = np.linalg.solve((x - center).T @ (x - center) + l2 * np.eye(x.shape[1]), (x - center).T @ (y - level))
    return w, float(level - w @ center)


def momentum_regression(
    x: np.ndarray,
    y: np.ndarray,
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    steps: int = 5000,
    batch_size: int = 1,
    seed: int = 0,
) -> tuple[np.ndarray, float, np.ndarray]:
    """Fit linear least squares by stochastic gradient descent with momentum from 0, in float64.

    Args:
      x: [N, D].
      y: [N].
      learning_rate: learning rate of the first step; it falls linearly to 0.
      momentum: ρ, in [0, 1).
      steps: number of updates.
      batch_size: examples per step, drawn with replacement.
      seed: random seed.

    Returns:
      (w [D], b, mean squared error of each step's examples [steps]).
    """
    x, y = check_regression(x, y)
    check_shapes(momentum=(momentum, "0 to <1"))
    check_finite("momentum", momentum)
    check_shapes(learning_rate=(learning_rate, "> 0"))
    check_finite("learning_rate", learning_rate)
    check_whole_number("steps", steps, 1)
    check_whole_number("batch_size", batch_size, 1)
    with jax.enable_x64(True):
        w, errors = _descend(np.c_[x, np.ones(len(x))], y, learning_rate, momentum, steps, batch_size, seed)
        check_finite(f"weights at learning_rate={learning_rate}", w)
        return np.asarray(w[:-1]), float(w[-1]), np.asarray(errors)


@functools.partial(jax.jit, static_argnames=("steps", "batch_size", "seed"))
def _descend(x, y, learning_rate, momentum, steps, batch_size, seed):
    def update(carry, step):
        w, v = carry
        rows = jax.random.randint(jax.random.fold_in(root_key(seed), step), (batch_size,), 0, len(x))
        # Gradient of the squared error on one minibatch.
        error = y[rows] - x[rows] @ w
        v = momentum * v + error @ x[rows] / batch_size
        # The learning rate decays linearly to 0.
        return (w + learning_rate * (1 - step / steps) * v, v), jnp.square(error).mean()

    start = jnp.zeros(x.shape[1])
    (w, _), errors = jax.lax.scan(update, (start, start), jnp.arange(steps))
    return w, errors


def check_regression(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Validate the data of a regression and convert them to float64.

    Args:
      x: [N, D].
      y: [N].

    Returns:
      (x, y).
    """
    check_shapes(x=(x, "N D"), y=(y, "M"))
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise ValueError(f"x.shape={x.shape} and y.shape={y.shape}: do not fit; allowed: [N, D] and [N] with N >= 1")
    check_finite("x", x)
    check_finite("y", y)
    return x, y
