"""Logistic regression of two classes by Newton's method, and of more classes one against the rest.

Cox 1958; the method is iteratively reweighted least squares.

    p = σ(w·x + b) = 1 / (1 + e^-(w·x + b)),    the softmax of two scores of which one is fixed at 0
    minimise Σ -[t log p + (1 - t) log(1 - p)] + λ/2 |w|²,    t = 0 or 1
    H = Xᵀ diag(p (1 - p)) X + λ I,    w <- w - H⁻¹ (Xᵀ (p - t) + λ w)

with a column of ones in X for b, which λ leaves alone. λ is 1/C of scikit-learn. A step that does not lower the
objective is halved, which Newton's method needs far from the minimum.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import append_one

__all__ = ["LogisticModel", "fit_binary", "predict", "predict_probability", "train"]


class LogisticModel(NamedTuple):
    """weights: [C, D], bias: [C], one question a class; of two classes one question, [1, D]. classes: [C] labels."""

    weights: np.ndarray
    bias: np.ndarray
    classes: np.ndarray


def train(images: Any, labels: Any, *, l2: float = 1.0, steps: int = 15) -> LogisticModel:
    """Fit images [N, ...] and labels [N] of at least two classes; l2: λ above, positive.

    Raises:
      ValueError: see `as_examples`; there is one class only, or l2 is not positive.
    """
    examples = as_examples(images, labels)
    if len(examples.classes) < 2:
        raise ValueError(f"labels holds only the class {examples.classes[0]}; there must be two")
    if not l2 > 0:
        raise ValueError(f"l2 is {l2}; it must be positive, else separable classes have no minimum")
    asked = [1] if len(examples.classes) == 2 else range(len(examples.classes))
    with jax.enable_x64(examples.rows.dtype == np.float64):
        rows = jnp.asarray(examples.rows)
        found = jnp.stack([fit_binary(rows, jnp.asarray(examples.label == c), l2, steps=steps) for c in asked])
        return LogisticModel(np.asarray(found[:, :-1]), np.asarray(found[:, -1]), examples.classes)


def predict(model: LogisticModel, images: Any) -> np.ndarray:
    """Labels [M] of images [M, ...]: the most probable class."""
    return model.classes[predict_probability(model, images).argmax(1)]


def predict_probability(model: LogisticModel, images: Any) -> np.ndarray:
    """[M, C]; of two classes 1 - p and p, of more the answers to C questions, divided by their sum."""
    rows = as_rows(images, model.weights.shape[1])
    with jax.enable_x64(rows.dtype == np.float64):
        p = np.asarray(jax.nn.sigmoid(rows @ model.weights.T + model.bias))
    p = np.concatenate([1 - p, p], 1) if len(model.classes) == 2 else p
    return p / p.sum(1, keepdims=True)


@functools.partial(jax.jit, static_argnames=("steps",))
def fit_binary(x: jax.Array, target: jax.Array, l2: float, *, steps: int = 15) -> jax.Array:
    """[D + 1], w and then b, of x: [N, D] and target: [N] of 0 and 1 after `steps` of Newton's method from 0."""
    x = append_one(x)
    sign = 2 * target.astype(x.dtype) - 1
    penalty = jnp.full(x.shape[1], l2, x.dtype).at[-1].set(0)

    def value(w):
        return jax.nn.softplus(-sign * (x @ w)).sum() + (penalty * w * w).sum() / 2

    def newton(w, _):
        p = jax.nn.sigmoid(x @ w)
        gradient = x.T @ (p - target) + penalty * w
        hessian = x.T @ ((p * (1 - p))[:, None] * x) + jnp.diag(penalty + jnp.finfo(x.dtype).eps)
        step = jnp.linalg.solve(hessian, gradient)
        before = value(w)
        size = jax.lax.while_loop(
            lambda size: (value(w - size * step) > before) & (size > 1e-3), lambda size: size / 2, jnp.ones((), x.dtype)
        )
        return w - size * step, None

    return jax.lax.scan(newton, jnp.zeros(x.shape[1], x.dtype), length=steps)[0]
