"""Losses of predicted numbers: one example's numbers in, of any shape, and what it costs out.

    L2         |x - t|^2                                                          summed
    MSE        (x - t)^2                                                          averaged, as are all below
    L1         |x - t|
    smooth L1  d^2 / 2 beta  where d = |x - t| < beta,  d - beta / 2  elsewhere   Girshick 2015, arXiv:1504.08083
    Huber      d^2 / 2       where d < delta,  delta (d - delta / 2)  elsewhere   Huber 1964; smooth L1 times delta
    Gaussian   (log v + (x - t)^2 / v) / 2                                        Nix & Weigend 1994; no log(2 pi) / 2

A detector's box loss is the sum over the four numbers: 4 times the mean. `optax.l2_loss` and `optax.huber_loss` are
element by element, and the former has a factor 1/2.
"""

import jax
import jax.numpy as jnp
import optax

from dlcore.losses._precision import at_least_float32

__all__ = ["gaussian_nll_loss", "huber_loss", "l1_loss", "l2_loss", "mse_loss", "smooth_l1_loss"]


def l2_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """The squared distance of `prediction: [...]` from `target: [...]`."""
    return jnp.square(_error(prediction, target)).sum()


def mse_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """The mean squared error of `prediction: [...]`."""
    return jnp.square(_error(prediction, target)).mean()


def l1_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """The mean absolute error of `prediction: [...]`; no gradient where it is right."""
    return _distance(prediction, target).mean()


def smooth_l1_loss(prediction: jax.Array, target: jax.Array, beta: float | jax.Array = 1.0) -> jax.Array:
    """The mean over `prediction: [...]`; slope at most 1. beta: 0 gives the L1 loss."""
    distance = _distance(prediction, target)
    near = jnp.minimum(distance, beta)
    return (near * near / (2 * jnp.maximum(beta, 1e-30)) + distance - near).mean()


def huber_loss(prediction: jax.Array, target: jax.Array, delta: float | jax.Array = 1.0) -> jax.Array:
    """The mean over `prediction: [...]`; slope at most delta."""
    return optax.huber_loss(_error(prediction, target), delta=delta).mean()


def gaussian_nll_loss(
    mean: jax.Array, target: jax.Array, variance: jax.Array, epsilon: float | jax.Array = 1e-6
) -> jax.Array:
    """The mean over `mean: [...]` of the negative log-likelihood of `target` under normal distributions.

    variance: of the shape of mean or to broadcast against it; below epsilon it counts as epsilon, and its gradient is
    that at epsilon, as in torch.
    """
    variance = at_least_float32(variance)
    variance = variance + jax.lax.stop_gradient(jnp.maximum(variance, epsilon) - variance)
    return ((jnp.log(variance) + jnp.square(_error(mean, target)) / variance) / 2).mean()


def _distance(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """|x - t| with the slope 0 at 0, where that of jnp.abs is 1."""
    error = _error(prediction, target)
    return error * jnp.sign(error)


def _error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    prediction, target = at_least_float32(prediction), at_least_float32(target)
    if prediction.shape != target.shape:
        raise ValueError(f"target has shape {target.shape}; it must be that of the prediction, {prediction.shape}")
    return prediction - target
