"""The linear classifier f = W x + b: one row of weights per class, four losses with gradients by hand.

With s = f the scores, y the class, t_c = 1 for c = y and -1 elsewhere:

    softmax         L = -log p_y, p = softmax(s)               dL/ds = p - onehot(y)
    logistic        L = Σ_c log(1 + exp(-t_c s_c))             dL/ds = σ(s) - onehot(y)           one vs rest
    hinge           L = Σ_(j≠y) max(0, s_j - s_y + 1)          dL/ds_j = 1 inside the margin, dL/ds_y = -(their number)
    squared_hinge   L = Σ_c max(0, 1 - t_c s_c)²               dL/ds_c = -2 t_c max(0, 1 - t_c s_c)   one vs rest

    objective = mean L + λ/2 |W|²        dW = dsᵀ x / N + λ W        db = Σ ds / N

The first is multinomial logistic regression: without λ it maximizes the likelihood, with λ = 1/(N σ²) it gives the most
probable W under a prior N(0, σ²) on each weight (Bridle 1990). The third is the multiclass support vector machine of
Weston & Watkins 1999, the last the one that scikit-learn's LinearSVC trains. N λ corresponds to scikit-learn's 1/C.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.safe_product import safe_product

__all__ = [
    "LOSSES",
    "Linear",
    "append_one",
    "fold_bias",
    "hinge_loss",
    "logistic_loss",
    "objective",
    "scores",
    "softmax_loss",
    "squared_hinge_loss",
]


class Linear(NamedTuple):
    """Parameters of an affine map.

    Args:
      weights: [C, D], one template per class.
      bias: [C].
    """

    weights: jax.Array
    bias: jax.Array


def scores(parameters: Linear, x: jax.Array) -> jax.Array:
    """Compute W x + b of each row.

    Args:
      parameters: weights [C, D] and bias [C].
      x: [N, D].

    Returns:
      [N, C].
    """
    check_shapes(weights=(parameters.weights, "C D"), bias=(parameters.bias, "C"), x=(x, "N D"))
    return x @ parameters.weights.T + parameters.bias


def append_one(x: jax.Array) -> jax.Array:
    """Append a column of ones, the input of a folded bias.

    Args:
      x: [N, D].

    Returns:
      [N, D + 1].
    """
    check_shapes(x=(x, "N D"))
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)


def fold_bias(parameters: Linear) -> jax.Array:
    """Append the bias to the weights as their last column: W x + b is then one product with `append_one(x)`.

    Args:
      parameters: weights [C, D] and bias [C].

    Returns:
      [C, D + 1].
    """
    check_shapes(weights=(parameters.weights, "C D"), bias=(parameters.bias, "C"))
    return jnp.concatenate([parameters.weights, parameters.bias[:, None]], 1)


def softmax_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy, with its gradient.

    Args:
      s: [N, C], scores.
      label: [N] int, classes in [0, C).

    Returns:
      (loss [N] in nats, its gradient by the scores [N, C]).

    Raises:
      ValueError: the shapes do not fit together, or a concrete label is no class.
    """
    s = to_acc_dtype(s)
    log_p = jax.nn.log_softmax(s)
    right = _onehot(s, label)  # [N, C]
    return -safe_product(right, log_p).sum(1), jnp.exp(log_p) - right


def logistic_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logistic loss of each class against the rest, Σ_c log(1 + exp(-t_c s_c)), with its gradient.

    Args:
      s: [N, C], scores.
      label: [N] int, classes in [0, C).

    Returns:
      (loss [N], its gradient by the scores [N, C]).

    Raises:
      ValueError: the shapes do not fit together, or a concrete label is no class.
    """
    s = to_acc_dtype(s)
    right = _onehot(s, label)
    return jax.nn.softplus(-(2 * right - 1) * s).sum(1), jax.nn.sigmoid(s) - right


def hinge_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Multiclass hinge, Σ_(j≠y) max(0, s_j - s_y + 1), with its gradient.

    Args:
      s: [N, C], scores.
      label: [N] int, classes in [0, C).

    Returns:
      (loss [N], its gradient by the scores [N, C]).

    Raises:
      ValueError: the shapes do not fit together, or a concrete label is no class.
    """
    s = to_acc_dtype(s)
    right = _onehot(s, label)
    # Violations of the margin by the other classes.
    gaps = jnp.where(right == 1, 0, s - (right * s).sum(1, keepdims=True) + 1)
    near = (gaps > 0).astype(s.dtype)
    return jnp.maximum(gaps, 0).sum(1), near - right * near.sum(1, keepdims=True)


def squared_hinge_loss(s: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared hinge of each class against the rest, Σ_c max(0, 1 - t_c s_c)², with its gradient.

    Args:
      s: [N, C], scores.
      label: [N] int, classes in [0, C).

    Returns:
      (loss [N], its gradient by the scores [N, C]).

    Raises:
      ValueError: the shapes do not fit together, or a concrete label is no class.
    """
    s = to_acc_dtype(s)
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
    """Mean loss plus l2/2 |W|², with its gradient; the bias is not penalized.

    Args:
      parameters: weights [C, D] and bias [C].
      x: [N, D].
      label: [N] int, classes in [0, C).
      loss: a name in LOSSES.
      l2: weight of the penalty, λ above.

    Returns:
      (value, gradient by weights and bias).
    """
    check_choice("loss", loss, LOSSES)
    check_shapes(l2=(l2, ">= 0"))
    each, ds = LOSSES[loss](scores(parameters, x), label)  # [N], [N, C]
    value = each.mean() + l2 / 2 * jnp.square(parameters.weights).sum()
    return value, Linear(ds.T @ x / len(x) + l2 * parameters.weights, ds.mean(0))


def _onehot(s: jax.Array, label: jax.Array) -> jax.Array:
    check_shapes(s=(s, "N C"), label=(label, "int N"))
    check_class_ids("label", label, s.shape[1])
    return jax.nn.one_hot(label, s.shape[1], dtype=s.dtype)
