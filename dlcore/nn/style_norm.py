"""Instance norm whose scale and bias set the style of the output image: one network, many styles.

    norm(x) = (x - mean) / sqrt(var + eps)                          mean and var of each example and channel over H, W

    conditional instance norm   y = gamma_s norm(x) + beta_s                           a row of two tables for style s
    adaptive instance norm      y = sqrt(var(style) + eps) norm(x) + mean(style)       the statistics of another map
    StyleGAN's form             y = (1 + a(w)) norm(x) + b(w)                          affine in a style vector w

Dumoulin, Shlens & Kudlur, "A learned representation for artistic style" (2016), arXiv:1610.07629; Huang & Belongie,
"Arbitrary style transfer in real-time with adaptive instance normalization" (2017), arXiv:1703.06868; Karras, Laine &
Aila (2018), arXiv:1812.04948.

Styles can be mixed: conditional instance norm also takes weights over the styles. `adaptive_instance_norm(x, x)` is x.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["AdaptiveInstanceNorm", "ConditionalInstanceNorm", "adaptive_instance_norm"]


class ConditionalInstanceNorm(CheckedModule):
    """Instance norm of [B, ..., C] with a scale and a bias for each style: parameters `scale`, `bias`: [num_styles, C].

    Args:
      num_styles: number of styles.
      dtype: dtype of the output; None means by promotion.
      param_dtype: dtype of the parameters.
    """

    num_styles: Count
    epsilon: Annotated[float, Range(0)] = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """Normalize x and apply the scale and bias of each example's style.

        Args:
          x: [B, ..., C].
          style: [B] int, ids in [0, num_styles) (others give NaN), or [B, num_styles] floating, weights of a mixture,
            which should sum to 1.

        Returns:
          [B, ..., C].
        """
        ids = jnp.issubdtype(style.dtype, jnp.integer)
        expected = x.shape[:1] if ids else (x.shape[0], self.num_styles)
        if style.shape != expected:
            kind = "ids" if ids else "weights"
            raise ValueError(
                f"style.shape={style.shape}: does not fit x.shape={x.shape}; allowed: {kind} of {expected}"
            )
        table = (self.num_styles, x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, table, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, table, self.param_dtype)
        if ids:
            rows = jnp.where((style >= 0) & (style < self.num_styles), style, self.num_styles)
            scale, bias = (table.at[rows].get(mode="fill") for table in (scale, bias))
        else:
            scale, bias = style @ scale, style @ bias
        y = _normalized(x, self.epsilon) * _per_map(scale, x) + _per_map(bias, x)
        return y.astype(self.dtype or jnp.result_type(x, scale))


class AdaptiveInstanceNorm(CheckedModule):
    """Instance norm of [B, ..., C] whose scale and bias are an affine map of a style vector (StyleGAN).

    The map is the submodule `affine`. With `kernel_init` zeros it starts as plain instance norm.

    Args:
      dtype: dtype of the output; None means by promotion.
      param_dtype: dtype of the parameters.
      kernel_init: initializer of the kernel of the affine map.
    """

    epsilon: Annotated[float, Range(0)] = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """Normalize x and apply the scale and bias of each example's style.

        Args:
          x: [B, ..., C].
          style: [B, D].

        Returns:
          [B, ..., C].
        """
        if style.ndim != 2 or style.shape[0] != x.shape[0]:
            raise ValueError(f"style.shape={style.shape}: does not fit x.shape={x.shape}; allowed: ({x.shape[0]}, D)")
        affine = Dense(
            2 * x.shape[-1], dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=self.kernel_init, name="affine"
        )
        scale, bias = jnp.split(affine(style), 2, -1)
        y = _normalized(x, self.epsilon) * _per_map(1 + scale, x) + _per_map(bias, x)
        return y.astype(self.dtype or jnp.result_type(x, scale))


def adaptive_instance_norm(content: jax.Array, style: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Adaptive instance norm: give a feature map the mean and deviation of another, channel by channel.

    Args:
      content: [B, ..., C].
      style: [B or 1, ..., C]; its spatial size may differ from that of `content`.
      epsilon: added to both variances.

    Returns:
      The shape and dtype of `content`.
    """
    check_shapes(epsilon=(epsilon, ">= 0"))
    if style.shape[-1] != content.shape[-1] or style.shape[0] not in (1, content.shape[0]):
        raise ValueError(f"{style.shape=}: does not fit {content.shape=}; allowed: 1 style, or one an example")
    mean, var = _moments(style)
    mean, deviation = (jnp.reshape(v, (v.shape[0], -1)) for v in (mean, jnp.sqrt(var + epsilon)))
    y = _normalized(content, epsilon) * _per_map(deviation, content) + _per_map(mean, content)
    return y.astype(result_dtype(content))


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over all axes but the first and the last; reduced axes have size 1."""
    x = to_acc_dtype(x)
    axes = tuple(range(1, x.ndim - 1))
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def _normalized(x: jax.Array, epsilon: float) -> jax.Array:
    mean, var = _moments(x)
    return (x - mean) * lax.rsqrt(var + jnp.asarray(epsilon, var.dtype))


def _per_map(values: jax.Array, x: jax.Array) -> jax.Array:
    """[B, C] -> [B, 1, ..., 1, C], which broadcasts against x: [B, ..., C]."""
    return values.reshape(values.shape[0], *(1,) * (x.ndim - 2), values.shape[-1])
