"""Logistic regression by Newton's method: two classes, or more classes one vs rest.

Cox 1958; the method is iteratively reweighted least squares.

    p = σ(w·x + b) = 1 / (1 + e^-(w·x + b)),    the softmax of two scores of which one is fixed at 0
    minimize Σ -[t log p + (1 - t) log(1 - p)] + λ/2 |w|²,    t = 0 or 1
    H = Xᵀ diag(p (1 - p)) X + λ I,    w <- w - H⁻¹ (Xᵀ (p - t) + λ w)

with a column of ones in X for b, which λ does not penalize. λ is 1/C of scikit-learn. A step that raises the objective
is halved, as Newton's method can overshoot far from the minimum.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import append_one
from dlcore.ops.checks import check_finite, check_shapes, check_values
from dlcore.ops.precision import centered

__all__ = ["LogisticModel", "fit_binary", "predict", "predict_probability", "train"]


class LogisticModel(NamedTuple):
    """A trained logistic regression: one binary problem per class, or one alone for two classes.

    Args:
      weights: [C, D]; [1, D] for two classes.
      bias: [C]; [1] for two classes.
      classes: [C], labels.
    """

    weights: np.ndarray
    bias: np.ndarray
    classes: np.ndarray


def train(images: Any, labels: Any, *, l2: float = 1.0, steps: int = 15) -> LogisticModel:
    """Fit a logistic regression by `fit_binary`.

    Args:
      images: [N, ...].
      labels: [N] integers of at least two classes.
      l2: λ above, positive.
      steps: number of Newton iterations.

    Returns:
      LogisticModel.
    """
    examples = as_examples(images, labels)
    if len(examples.classes) < 2:
        raise ValueError(f"labels={examples.classes.tolist()}: only one class; allowed: at least two")
    check_whole_number("steps", steps, 1)
    # Without a penalty, separable classes would have no minimum.
    check_shapes(l2=(l2, "> 0"))
    check_finite("l2", l2)
    positives = [1] if len(examples.classes) == 2 else range(len(examples.classes))
    with jax.enable_x64(examples.rows.dtype == np.float64):
        rows, center = centered(examples.rows)
        fits = [_fit_binary(rows, jnp.asarray(examples.label == c), l2, steps) for c in positives]
    weights, bias = np.stack(fits)[:, :-1], np.stack(fits)[:, -1]
    # In float64: far from 0 the bias is large, and nearly cancels the product.
    return LogisticModel(weights, bias - weights.astype(np.float64) @ np.asarray(center), examples.classes)


def predict(model: LogisticModel, images: Any) -> np.ndarray:
    """Predict the most probable class.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    return model.classes[predict_probability(model, images).argmax(1)]


def predict_probability(model: LogisticModel, images: Any) -> np.ndarray:
    """Predict the probability of every class: 1 - p and p of two classes; of more, the one-vs-rest answers normalized.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M, C], rows that sum to 1.
    """
    rows = as_rows(images, model.weights.shape[1])
    with jax.enable_x64(True):
        p = np.asarray(jax.nn.sigmoid(rows.astype(np.float64) @ model.weights.T + model.bias))
    p = np.concatenate([1 - p, p], 1) if len(model.classes) == 2 else p
    return p / p.sum(1, keepdims=True)


def fit_binary(x: jax.Array, target: jax.Array, l2: float, *, steps: int = 15) -> jax.Array:
    """Fit a binary logistic regression by Newton's method from 0.

    Args:
      x: [N, D].
      target: [N], 0 or 1.
      l2: λ above.
      steps: number of Newton iterations.

    Returns:
      [D + 1], w and then b.
    """
    check_shapes(x=(x, "N D"), target=(target, "N"), l2=(l2, ">= 0"))
    check_finite("l2", l2)
    check_whole_number("steps", steps, 1)
    check_values("target", target, (0, 1))
    x, center = centered(x)
    w = _fit_binary(x, jnp.asarray(target), l2, steps)
    return w.at[-1].add(-(w[:-1] * center).sum())


@functools.partial(jax.jit, static_argnames=("steps",))
def _fit_binary(x: jax.Array, target: jax.Array, l2: float, steps: int) -> jax.Array:
    # About the mean and in units of the deviation, as float32 cannot solve for columns of far or of several sizes.
    deviation = jnp.sqrt(jnp.square(x).mean(0))
    unit = jnp.append(jnp.where(deviation > 0, deviation, 1), 1)
    x = append_one(x) / unit
    sign = 2 * target.astype(x.dtype) - 1
    # The bias, the last weight, is not penalized.
    penalty = (l2 / jnp.square(unit)).at[-1].set(0)

    def value(w):
        return jax.nn.softplus(-sign * (x @ w)).sum() + (penalty * w * w).sum() / 2

    def newton(w, _):
        p = jax.nn.sigmoid(x @ w)
        gradient = x.T @ (p - target) + penalty * w
        # Newton step; epsilon keeps the Hessian invertible.
        hessian = x.T @ ((p * (1 - p))[:, None] * x) + jnp.diag(penalty + jnp.finfo(x.dtype).eps)
        step = jnp.linalg.solve(hessian, gradient)
        # Backtracking line search: halve the step until the loss does not rise; no step where none helps, or is NaN.
        before = value(w)

        def rises(size):
            return ~(value(w - size * step) <= before)

        size = jax.lax.while_loop(
            lambda size: rises(size) & (size > 1e-3), lambda size: size / 2, jnp.ones((), x.dtype)
        )
        return jnp.where(rises(size), w, w - size * step), None

    return jax.lax.scan(newton, jnp.zeros(x.shape[1], x.dtype), length=steps)[0] / unit
