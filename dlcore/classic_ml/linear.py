"""The linear classifier f = W x + b: one row of weights a class, four losses and their gradients by hand.

With s = f the scores, y the class, t_c = 1 for c = y and -1 elsewhere:

    softmax         L = -log p_y, p = softmax(s)               dL/ds = p - onehot(y)
    logistic        L = Σ_c log(1 + exp(-t_c s_c))             dL/ds = σ(s) - onehot(y)           one class against rest
    hinge           L = Σ_(j≠y) max(0, s_j - s_y + 1)          dL/ds_j = 1 where too near, dL/ds_y = -(how many)
    squared_hinge   L = Σ_c max(0, 1 - t_c s_c)²               dL/ds_c = -2 t_c max(0, 1 - t_c s_c)   class against rest

    objective = mean L + λ/2 |W|²        dW = dsᵀ x / N + λ W        db = Σ ds / N

The first is multinomial logistic regression: without λ the maximum of the likelihood, with λ = 1/(N σ²) the most
probable W under a prior N(0, σ²) on each weight (Bridle 1990). The third is the multi-class support vector machine of
Weston & Watkins 1999, the last the machine that scikit-learn's LinearSVC trains. N times λ is 1/C there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = [
    "LOSSES", "Linear", "append_one", "fold_bias", "hinge_loss", "logistic_loss", "objective", "scores",
    "softmax_loss", "squared_hinge_loss",
]  # fmt: skip


class Linear(NamedTuple):
    """weights: [C, D], a template a class. bias: [C]."""

    weights: jax.Array
    bias: jax.Array


def scores(parameters: Linear, x: jax.Array) -> jax.Array:
    """x: [N, D] -> W x + b of each: [N, C]."""
    return x @ parameters.weights.T + parameters.bias


def append_one(x: jax.Array) -> jax.Array:
    """[N, D] -> [N, D + 1] with a last column of ones."""
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)


def fold_bias(parameters: Linear) -> jax.Array:
    """[C, D + 1], the bias as last column: W x + b is then one product with `append_one(x)`."""
    return jnp.concatenate([parameters.weights, parameters.bias[:, None]], 1)


def softmax_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores [N, C], label [N] int -> (loss [N], its gradient [N, C]), as in all losses here."""
    log_p = jax.nn.log_softmax(s)
    right = _onehot(s, label)
    return -(right * log_p).sum(1), jnp.exp(log_p) - right


def logistic_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each class against the rest, by log(1 + exp(-t s))."""
    right = _onehot(s, label)
    return jax.nn.softplus(-(2 * right - 1) * s).sum(1), jax.nn.sigmoid(s) - right


def hinge_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum over the other classes of how far each comes within 1 of the right one."""
    right = _onehot(s, label)
    gaps = jnp.where(right == 1, 0, s - (right * s).sum(1, keepdims=True) + 1)
    near = (gaps > 0).astype(s.dtype)
    return jnp.maximum(gaps, 0).sum(1), near - right * near.sum(1, keepdims=True)


def squared_hinge_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each class against the rest, by max(0, 1 - t s)²."""
    sign = 2 * _onehot(s, label) - 1
    gap = jnp.maximum(1 - sign * s, 0)
    return jnp.square(gap).sum(1), -2 * sign * gap


LOSSES: dict[str, Callable] = {
    "softmax": softmax_loss,
    "logistic": logistic_loss,
    "hinge": hinge_loss,
    "squared_hinge": squared_hinge_loss,
}


def objective(parameters: Linear, x: jax.Array, label: jax.Array, loss: str, l2: Any) -> tuple[jax.Array, Linear]:
    """(mean loss of x: [N, D], label: [N] plus l2/2 |W|², its gradient); the bias is not penalised.

    Raises:
      ValueError: the loss is no name of LOSSES.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; allowed are {', '.join(LOSSES)}")
    each, ds = LOSSES[loss](scores(parameters, x), label)
    value = each.mean() + l2 / 2 * jnp.square(parameters.weights).sum()
    return value, Linear(ds.T @ x / len(x) + l2 * parameters.weights, ds.mean(0))


def _onehot(s: jax.Array, label: jax.Array) -> jax.Array:
    return jax.nn.one_hot(label, s.shape[1], dtype=s.dtype)
