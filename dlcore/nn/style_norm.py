"""Instance norm whose scale and bias say in which style a picture is to be: one network, many styles.

    norm(x) = (x - mean) / sqrt(var + eps)                          mean and var of each example and channel over H, W

    conditional instance norm   y = gamma_s norm(x) + beta_s                           a row of two tables a style s
    adaptive instance norm      y = sqrt(var(style) + eps) norm(x) + mean(style)       the statistics of another map
    StyleGAN's form             y = (1 + a(w)) norm(x) + b(w)                          affine in a style vector w

Dumoulin, Shlens & Kudlur, "A learned representation for artistic style" (2016), arXiv:1610.07629; Huang & Belongie,
"Arbitrary style transfer in real-time with adaptive instance normalization" (2017), arXiv:1703.06868; Karras, Laine &
Aila (2018), arXiv:1812.04948.

Styles mix: conditional instance norm takes weights over the styles too. `adaptive_instance_norm(x, x)` is x.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

__all__ = ["AdaptiveInstanceNorm", "ConditionalInstanceNorm", "adaptive_instance_norm"]


class ConditionalInstanceNorm(nn.Module):
    """Instance norm of [B, ..., C] with a scale and a bias for each of `num_styles`: parameters [num_styles, C]."""

    num_styles: int
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """style: [B] ids in [0, num_styles), or [B, num_styles] weights of a mixture (their sum should be 1).

        An id out of range gives NaN. Raises ValueError for a style of another shape.
        """
        ids = jnp.issubdtype(style.dtype, jnp.integer)
        wanted = x.shape[:1] if ids else (x.shape[0], self.num_styles)
        if style.shape != wanted:
            kind = "ids" if ids else "weights"
            raise ValueError(f"style has shape {style.shape}: {kind} of shape {wanted} are needed for x {x.shape}")
        table = (self.num_styles, x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, table, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, table, self.param_dtype)
        if ids:
            rows = jnp.where((style >= 0) & (style < self.num_styles), style, self.num_styles)
            scale, bias = (table.at[rows].get(mode="fill", fill_value=jnp.nan) for table in (scale, bias))
        else:
            scale, bias = style @ scale, style @ bias
        y = _normalized(x, self.epsilon) * _per_map(scale, x) + _per_map(bias, x)
        return y.astype(self.dtype or jnp.result_type(x, scale))


class AdaptiveInstanceNorm(nn.Module):
    """Instance norm of [B, ..., C] whose scale and bias are an affine map of a style vector (StyleGAN).

    It starts as plain instance norm where the map does, with `kernel_init` zeros.
    """

    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """style: [B, D]. Raises ValueError for a style of another shape."""
        if style.ndim != 2 or len(style) != len(x):
            raise ValueError(f"style has shape {style.shape}: ({x.shape[0]}, D) is needed for x of shape {x.shape}")
        affine = nn.Dense(
            2 * x.shape[-1], dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=self.kernel_init, name="affine"
        )
        scale, bias = jnp.split(affine(style), 2, -1)
        y = _normalized(x, self.epsilon) * _per_map(1 + scale, x) + _per_map(bias, x)
        return y.astype(self.dtype or jnp.result_type(x, scale))


def adaptive_instance_norm(content: jax.Array, style: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """The map content: [B, ..., C] with the mean and deviation of style: [B or 1, ..., C], channel by channel.

    The positions of the two may differ in number. Raises ValueError where channels or examples do not fit.
    """
    if style.shape[-1] != content.shape[-1] or style.shape[0] not in (1, content.shape[0]):
        raise ValueError(
            f"style has shape {style.shape}: {content.shape[-1]} channels and 1 or {content.shape[0]} examples are "
            f"needed for content of shape {content.shape}"
        )
    mean, var = _moments(style)
    mean, deviation = (jnp.reshape(v, (len(v), -1)) for v in (mean, jnp.sqrt(var + epsilon)))
    y = _normalized(content, epsilon) * _per_map(deviation, content) + _per_map(mean, content)
    return y.astype(content.dtype)


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over all axes but the first and the last, which stay as they are or as 1."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(1, x.ndim - 1))
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def _normalized(x: jax.Array, epsilon: float) -> jax.Array:
    mean, var = _moments(x)
    return (x - mean) * lax.rsqrt(var + jnp.asarray(epsilon, var.dtype))


def _per_map(values: jax.Array, x: jax.Array) -> jax.Array:
    """[B, C] -> [B, 1, ..., 1, C], to go with x: [B, ..., C]."""
    return values.reshape(values.shape[0], *(1,) * (x.ndim - 2), values.shape[-1])
