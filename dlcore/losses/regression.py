"""Losses of predicted numbers, over the last axis: an example is a vector [D], all axes before it are batch axes.

    L2         |x - t|^2                                                          summed over D
    MSE        (x - t)^2                                                          averaged, as are all below
    L1         |x - t|
    smooth L1  d^2 / 2 beta  where d = |x - t| < beta,  d - beta / 2  elsewhere   Girshick 2015, arXiv:1504.08083
    Huber      d^2 / 2       where d < delta,  delta (d - delta / 2)  elsewhere   Huber 1964; smooth L1 times delta
    Gaussian   (log v + (x - t)^2 / v) / 2                                        Nix & Weigend 1994; no log(2 pi) / 2

An image [B, H, W, C] gives [B, H, W]: its mean over pixels is the mean over all its numbers. A detector's box loss is
the sum over the four numbers: 4 times the mean. `optax.l2_loss` and `optax.huber_loss` are element by element, and the
former has a factor 1/2. One number an example is D = 1: `predictions[:, None]`.
"""

import jax
import jax.numpy as jnp
import optax

from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype, to_same_origin

__all__ = ["gaussian_nll_loss", "huber_loss", "l1_loss", "l2_loss", "mse_loss", "smooth_l1_loss"]


def l2_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared distance, summed over the last axis.

    Args:
      predictions: [..., D].
      targets: [..., D].

    Returns:
      [...], one loss an example.
    """
    return jnp.square(_error(predictions, targets)).sum(-1)


def mse_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared error, averaged over the last axis.

    Args:
      predictions: [..., D].
      targets: [..., D].

    Returns:
      [...], one loss an example.
    """
    return jnp.square(_error(predictions, targets)).mean(-1)


def l1_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Absolute error, averaged over the last axis; it has no gradient at 0.

    Args:
      predictions: [..., D].
      targets: [..., D].

    Returns:
      [...], one loss an example.
    """
    return _distance(predictions, targets).mean(-1)


def smooth_l1_loss(predictions: jax.Array, targets: jax.Array, beta: float | jax.Array = 1.0) -> jax.Array:
    """Smooth L1 loss, averaged over the last axis: quadratic near 0, slope 1 beyond.

    Args:
      predictions: [..., D].
      targets: [..., D].
      beta: error at which the parabola ends; 0 gives the L1 loss.

    Returns:
      [...], one loss an example.
    """
    check_shapes(beta=(beta, ">= 0"))
    abs_error = _distance(predictions, targets)  # [..., D]
    # Quadratic below beta, linear above it.
    near = jnp.minimum(abs_error, beta)  # [..., D]
    return (near * near / (2 * jnp.maximum(beta, 1e-30)) + abs_error - near).mean(-1)


def huber_loss(predictions: jax.Array, targets: jax.Array, delta: float | jax.Array = 1.0) -> jax.Array:
    """Huber loss, averaged over the last axis: quadratic near 0, slope delta beyond.

    Args:
      predictions: [..., D].
      targets: [..., D].
      delta: error at which the parabola ends, above 0.

    Returns:
      [...], one loss an example.
    """
    check_shapes(delta=(delta, "> 0"))
    return optax.huber_loss(_error(predictions, targets), delta=delta).mean(-1)


def gaussian_nll_loss(
    mean: jax.Array, targets: jax.Array, variance: jax.Array, epsilon: float | jax.Array = 1e-6
) -> jax.Array:
    """Negative log-likelihood under normal distributions, averaged over the last axis.

    Args:
      mean: [..., D], predicted means.
      targets: [..., D].
      variance: [..., D], predicted variances, or [..., 1], one an example.
      epsilon: least variance; a smaller one counts as epsilon and gets the gradient at epsilon, as in torch.

    Returns:
      [...], one loss an example, in nats, without log(2 pi) / 2.
    """
    error, variance = _error(mean, targets), to_acc_dtype(variance)
    check_shapes(
        mean=(error, "... D"),
        variance=(variance, "... 1" if variance.shape[-1:] == (1,) else "... D"),
        epsilon=(epsilon, "> 0"),
    )
    check_range("variance", variance, 0)
    # A variance below epsilon counts as epsilon, and keeps its gradient.
    variance = variance + jax.lax.stop_gradient(jnp.maximum(variance, epsilon) - variance)
    return ((jnp.log(variance) + jnp.square(error) / variance) / 2).mean(-1)


def _distance(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """|x - t| with the slope 0 at 0, where that of jnp.abs is 1."""
    error = _error(predictions, targets)
    return error * jnp.sign(error)


def _error(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    check_shapes(predictions=(predictions, "... D"), targets=(targets, "... D"))
    predictions, targets = to_same_origin(predictions, targets)
    return predictions - targets
