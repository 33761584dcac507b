"""Batch normalization, applied as one multiplication and one addition.

Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift" (2015),
arXiv:1502.03167.

    a = gamma / sqrt(var + eps),  c = beta - mean a,  y = x a + c           mean and var over all axes but the channels
    running <- momentum running + (1 - momentum) batch

In this folded form it takes a third of the time of (x - mean) / sqrt(var + eps) gamma + beta on a CPU. `momentum` is
the weight of the old value, as in flax: torch's momentum 0.1 is 0.9 here. The running variance is the unbiased one by
default, as in torch; flax keeps the biased one.

In evaluation y is a linear map of x, so it can be merged into the layer before it: `fold_batch_norm`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA, is_replicated

__all__ = ["BatchNorm", "fold_batch_norm", "mean_and_variance"]


class BatchNorm(CheckedModule):
    """Batch norm: normalize each channel (the last axis) of [B, ..., C] over all other axes.

    Variables are flax's: parameters `scale`, `bias`: [C]; `batch_stats` `mean`, `var`: [C]. Statistics are taken in at
    least float32. Under jit on a mesh they span the whole batch; under pmap or shard_map they are averaged over
    `axis_name`.

    Args:
      use_running_average: True in evaluation, False in training; None leaves it to the call.
      momentum: weight of the old running statistics.
      axis_name: mapped axis to average statistics over; None means this device alone.
      dtype: dtype of the output; None means by promotion.
      param_dtype: dtype of scale and bias.
      use_bias: add a bias to each channel.
      use_scale: multiply each channel by a scale.
      scale_init: initializer of the scale; zeros in the last layer of a residual block start it as the identity.
      unbiased_running_var: update the running variance with the unbiased variance, as torch does.
    """

    use_running_average: bool | None = None
    momentum: Annotated[float, Range(0, 1)] = 0.9
    epsilon: Annotated[float, Range(0)] = 1e-5
    axis_name: str | None = REPLICA
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Any = nn.initializers.zeros
    scale_init: Any = nn.initializers.ones
    unbiased_running_var: bool = True

    @nn.compact
    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalize, and in training update the running statistics.

        Args:
          x: [B, ..., C].
          use_running_average: True in evaluation, False in training; None leaves it to the field.
          mask: [B], 0 or False where an example is left out of the statistics, and what is not finite counts as 0; None
            means that all count.

        Returns:
          [B, ..., C].
        """
        frozen = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        if mask is not None and mask.shape != x.shape[:1]:
            raise ValueError(f"{mask.shape=}: does not fit x; allowed: {x.shape[:1]}, one for each example")
        if mask is not None:
            counts = mask.reshape(mask.shape + (1,) * (x.ndim - 1)) > 0
            x = jnp.where(counts | jnp.isfinite(x), x, 0)
        channels = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if frozen:
            mean, var = running_mean.value, running_var.value
        else:
            joins = not self.is_initializing() and (self.axis_name != REPLICA or is_replicated())
            if not joins and not self.is_initializing() and x.size == x.shape[-1]:
                raise ValueError("batch_size=1: one value a channel, whose variance is 0; allowed: at least 2")
            mean, var, count = _moments(x, mask, self.axis_name if joins else None)
            if not self.is_initializing():
                self._track(running_mean, running_var, mean, var, count)
        scale = self.param("scale", self.scale_init, channels, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, channels, self.param_dtype) if self.use_bias else None
        a = lax.rsqrt(var + jnp.asarray(self.epsilon, var.dtype))
        a = a if scale is None else a * scale
        c = -mean * a
        c = c if bias is None else c + bias
        dtype = self.dtype or jnp.result_type(x, *(p for p in (scale, bias) if p is not None))
        return (x * a + c).astype(dtype)

    def _track(self, running_mean, running_var, mean, var, count) -> None:
        if self.unbiased_running_var:
            var = var * (count / jnp.maximum(count - 1, 1)).astype(var.dtype)
        for running, batch in ((running_mean, mean), (running_var, var)):
            old = running.value
            new = self.momentum * old + (1 - self.momentum) * batch.astype(old.dtype)
            running.value = jnp.where(count > 0, new, old)


def fold_batch_norm(
    layer: Mapping[str, jax.Array],
    params: Mapping[str, jax.Array],
    batch_stats: Mapping[str, jax.Array],
    epsilon: float = 1e-5,
) -> dict[str, jax.Array]:
    """Merge a batch norm into the convolution or dense layer before it, for evaluation.

        kernel' = kernel a,  bias' = (bias - mean) a + beta                            a = gamma / sqrt(var + eps)

    Args:
      layer: `kernel: [..., C]` of the layer, outputs last as in flax's Conv and Dense, and `bias: [C]` if it has one.
      params: `scale` and `bias` of the batch norm; both may be missing.
      batch_stats: `mean` and `var` of the batch norm.
      epsilon: epsilon of the batch norm.

    Returns:
      `kernel` and `bias` of the merged layer.
    """
    check_shapes(epsilon=(epsilon, ">= 0"))
    for name, arrays, needed in (("layer", layer, ("kernel",)), ("batch_stats", batch_stats, ("mean", "var"))):
        if missing := [key for key in needed if key not in arrays]:
            raise ValueError(f"{name}: has no {missing[0]!r}; allowed: with {' and '.join(needed)}")
    kernel, mean, var = layer["kernel"], to_acc_dtype(batch_stats["mean"]), to_acc_dtype(batch_stats["var"])
    if kernel.shape[-1:] != mean.shape:
        raise ValueError(f"kernel.shape={kernel.shape}: does not fit the batch norm; allowed: {mean.shape[0]} outputs")
    a = lax.rsqrt(var + jnp.asarray(epsilon, var.dtype)) * params.get("scale", 1)
    bias = (layer.get("bias", 0) - mean) * a + params.get("bias", 0)
    return {"kernel": (kernel * a).astype(kernel.dtype), "bias": bias.astype(kernel.dtype)}


def _moments(x: jax.Array, mask: jax.Array | None, axis_name: str | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean and biased variance of each channel over all devices (Chan et al. 1979), and the number of values."""
    x = to_acc_dtype(x)
    if mask is None:
        count = jnp.asarray(x.size // x.shape[-1], x.dtype)
        mean, var = mean_and_variance(x)
    else:
        axes = tuple(range(x.ndim - 1))
        valid = mask.reshape(mask.shape + (1,) * (x.ndim - 1)) > 0
        count = valid.sum(dtype=x.dtype) * (x.size // x.shape[-1] // max(x.shape[0], 1))
        mean = jnp.where(valid, x, 0).sum(axes) / jnp.maximum(count, 1)
        var = jnp.where(valid, jnp.square(x - mean), 0).sum(axes) / jnp.maximum(count, 1)
    if axis_name is None:
        return mean, var, count
    total = lax.psum(count, axis_name)
    valid_fraction = count / jnp.maximum(total, 1)
    joined = lax.psum(valid_fraction * mean, axis_name)
    return joined, lax.psum(valid_fraction * (var + jnp.square(mean - joined)), axis_name), total


@jax.custom_jvp
def mean_and_variance(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over all axes but the last, in one pass where that is precise.

        var = E x^2 - (E x)^2;   where a mean is over ten deviations, E (x - E x)^2 instead, in a second pass

    The first form loses m^2 / var of the dtype's precision to cancellation. The derivatives are those of the second.

    Args:
      x: [..., C], floating.

    Returns:
      (mean, variance), both [C].
    """
    x, axes = to_acc_dtype(x), tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    var = jnp.square(x).mean(axes) - jnp.square(mean)
    safe = jnp.all(var >= 1e-2 * jnp.square(mean))
    return mean, lax.cond(safe, lambda: var, lambda: jnp.square(x - mean).mean(axes))


@mean_and_variance.defjvp
def _mean_and_variance_jvp(primals: tuple, tangents: tuple) -> tuple:
    x, dx = map(to_acc_dtype, (*primals, *tangents))
    axes = tuple(range(x.ndim - 1))
    mean, var = mean_and_variance(x)
    return (mean, var), (dx.mean(axes), 2 * ((x - mean) * dx).mean(axes))
