"""Normalization within one example, the same in training and evaluation and at every batch size.

    y = (x - mean) / sqrt(var + eps) * scale + bias                 x: [B, H, W, C], scale and bias: [C]

    layer norm      mean and var over the channels of each location
    group norm      over the locations and a group of channels
    instance norm   over the locations of one channel
    RMS norm        y = x / sqrt(mean x^2 + eps) * scale, over the channels of each location; zero-centered: 1 + scale
    global response G_c = |x_c| over the locations of a channel;  y = scale x G / mean_c G + bias + x
    local response  y = x / (k + alpha mean over the n neighboring channels of x^2)^beta

Ba, Kiros & Hinton 2016, arXiv:1607.06450 (layer); Wu & He 2018, arXiv:1803.08494 (group); Ulyanov, Vedaldi & Lempitsky
2016, arXiv:1607.08022 (instance); Zhang & Sennrich 2019, arXiv:1910.07467 (RMS); Woo et al. 2023, arXiv:2301.00808
(global response, ConvNeXt V2); Krizhevsky, Sutskever & Hinton 2012 (local response, AlexNet).

The layers are flax's (group norm is our own) with torch's epsilon, 1e-5 (flax has 1e-6), and with the variance about
the mean: flax's default, E[x^2] - E[x]^2, cancels where the mean is large. Group norm with one group spans all channels
and locations. Local response norm divides alpha by n as torch does; AlexNet's paper does not, so its alpha of 1e-4 is
5e-4 here.
"""

import math
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from dlcore.choices import is_whole_number
from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = [
    "GlobalResponseNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
    "ZeroCenteredRMSNorm",
    "local_response_norm",
]


class LayerNorm(CheckedModule, nn.LayerNorm):
    """Layer norm: normalize each location over its channels, [..., C] -> [..., C]. All fields of flax's `nn.LayerNorm`.

    `reduction_axes` are the axes of mean and variance, (-3, -2, -1) for a whole feature map; parameters are on
    `feature_axes`.

    Args:
      epsilon: added to the variance; torch's default.
      use_fast_variance: compute the variance as E[x^2] - E[x]^2, which cancels where the mean is large.
    """

    epsilon: Annotated[float, Range(0)] = 1e-5
    use_fast_variance: bool = False


class RMSNorm(CheckedModule, nn.RMSNorm):
    """RMS norm: divide each location by the root mean square of its channels, without centering, [..., C] -> [..., C].

    Args:
      epsilon: added to the mean square; torch's default.
      use_fast_variance: a field of flax's; the mean square has one form only.
    """

    epsilon: Annotated[float, Range(0)] = 1e-5
    use_fast_variance: bool = False


class ZeroCenteredRMSNorm(CheckedModule):
    """RMS norm whose factor is 1 + scale, so that weight decay pulls it to 1 (Gemma), [..., C] -> [..., C].

    Args:
      epsilon: added to the mean square.
      dtype: dtype of the output; None means the input's.
    """

    epsilon: Annotated[float, Range(0)] = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize.

        Args:
          x: [..., C].

        Returns:
          [..., C].
        """
        scale, y = self.param("scale", nn.initializers.zeros, x.shape[-1:]), to_acc_dtype(x)
        y = y * lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.epsilon)
        return (y * (1 + scale.astype(y.dtype))).astype(self.dtype or result_dtype(x))


class GroupNorm(CheckedModule):
    """Group norm: normalize groups of neighboring channels over all locations, [B, ..., C] -> [B, ..., C].

    One group is layer norm over the whole example; as many groups as channels are instance norm. Statistics are taken
    in at least float32. The custom backward pass reads x and the cotangent twice; forward mode is not available.

    Args:
      num_groups: number of groups, a divisor of C; None where `group_size` is given.
      group_size: channels in each group, in place of `num_groups`.
      dtype: dtype of the output; None means by promotion.
      param_dtype: dtype of scale and bias.
      use_bias: add a bias to each channel.
      use_scale: multiply each channel by a scale.
      scale_init: initializer of the scale.
    """

    num_groups: int | None = 32
    group_size: int | None = None
    epsilon: Annotated[float, Range(0)] = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Any = nn.initializers.zeros
    scale_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize.

        Args:
          x: [B, ..., C].

        Returns:
          [B, ..., C].
        """
        channels = x.shape[-1]
        if (self.num_groups is None) == (self.group_size is None):
            raise ValueError(f"num_groups={self.num_groups}, group_size={self.group_size}: ambiguous; allowed: one")
        name, value = ("num_groups", self.num_groups) if self.group_size is None else ("group_size", self.group_size)
        if value < 1 or channels % value:
            raise ValueError(f"{name}={value}: not a divisor; allowed: divisors of the {channels} channels of x")
        scale = self.param("scale", self.scale_init, (channels,), self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, (channels,), self.param_dtype) if self.use_bias else None
        dtype = self.dtype or jnp.result_type(x, *(p for p in (scale, bias) if p is not None))
        acc_dtype = acc_dtype_of(x.dtype)
        a = jnp.ones(channels, acc_dtype) if scale is None else scale.astype(acc_dtype)
        c = jnp.zeros(channels, acc_dtype) if bias is None else bias.astype(acc_dtype)
        groups = channels // value if self.num_groups is None else value
        y = _group_norm(
            x.reshape(x.shape[0], math.prod(x.shape[1:-1]), channels).astype(acc_dtype), a, c, groups, self.epsilon
        )
        return y.reshape(x.shape).astype(dtype)


def _by_group(values: jax.Array, groups: int) -> jax.Array:
    """Mean of each group of channels, repeated for each of its channels: [B, C] -> [B, C]."""
    size = values.shape[1] // groups
    return jnp.repeat(values.reshape(values.shape[0], groups, size).mean(-1), size, 1)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float) -> jax.Array:
    """x: [B, N, C] -> [B, N, C]."""
    return _group_norm_forward(x, scale, bias, groups, epsilon)[0]


def _group_norm_forward(x, scale, bias, groups, epsilon):
    mean = _by_group(x.mean(1), groups)
    deviation = lax.rsqrt(_by_group(jnp.square(x - mean[:, None]).mean(1), groups) + epsilon)
    return (x - mean[:, None]) * (deviation * scale)[:, None] + bias, (x, scale, mean, deviation)


def _group_norm_backward(groups, epsilon, residuals, dy):
    """dx = r (g - mean g - xhat mean(g xhat)),   g = scale dy,  r = 1 / sqrt(var + eps),  xhat = r (x - mean)."""
    x, scale, mean, r = residuals
    shift = dy.sum(1)
    centered = x - mean[:, None]
    stretch = (centered * dy).sum(1) * r
    g_mean, g_xhat = (_by_group(scale * s, groups) / x.shape[1] for s in (shift, stretch))
    dx = dy * (r * scale)[:, None] - centered * (r * r * g_xhat)[:, None] - (r * g_mean)[:, None]
    return dx, stretch.sum(0), shift.sum(0)


_group_norm.defvjp(_group_norm_forward, _group_norm_backward)


class InstanceNorm(CheckedModule, nn.InstanceNorm):
    """Instance norm: normalize each channel of each example over its locations, [B, ..., C] -> [B, ..., C].

    torch's has no scale and bias unless affine: use_scale=False, use_bias=False here.

    Args:
      epsilon: added to the variance; torch's default.
      use_fast_variance: compute the variance as E[x^2] - E[x]^2, which cancels where the mean is large.
    """

    epsilon: Annotated[float, Range(0)] = 1e-5
    use_fast_variance: bool = False


class GlobalResponseNorm(CheckedModule):
    """Global response norm: channels compete by their norm over the image, [B, ..., C] -> [B, ..., C].

    Parameters `scale` and `bias`: [C], both zeros at first, so that the layer starts as the identity. Norms are taken
    in at least float32.

    Args:
      epsilon: added to the mean of the norms.
      dtype: dtype of the output; None means by promotion.
      param_dtype: dtype of scale and bias.
    """

    epsilon: Annotated[float, Range(0)] = 1e-6
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize.

        Args:
          x: [B, ..., C].

        Returns:
          [B, ..., C].
        """
        scale = self.param("scale", nn.initializers.zeros, x.shape[-1:], self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], self.param_dtype)
        dtype = self.dtype or jnp.result_type(x, scale, bias)
        squares = jnp.square(to_acc_dtype(x))
        norm = _root(squares.sum(tuple(range(1, x.ndim - 1)), keepdims=True))
        gate = scale * norm / (norm.mean(-1, keepdims=True) + self.epsilon) + 1
        return (x * gate + bias).astype(dtype)


def _root(squares: jax.Array) -> jax.Array:
    """Square root, with gradient 0 where the argument is 0."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:
    """Local response norm (AlexNet): divide each value by a power of the squares of the channels around it.

    Channels beyond the ends count as zeros. An even size reaches one channel further down than up.

    Args:
      x: [..., C].
      size: n, number of channels in the sum.
      alpha: factor of the mean square; n times the alpha of AlexNet's paper.
      beta: exponent.
      k: constant in the base; AlexNet's 2, torch's default is 1.

    Returns:
      [..., C].
    """
    if not is_whole_number(size) or size < 1:
        raise ValueError(f"size={size}: no channels; allowed: whole numbers of at least 1")
    check_shapes(alpha=(alpha, ">= 0"), beta=(beta, "finite"), k=(k, ">= 0"))
    x32 = to_acc_dtype(x)
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(x32), padding)
    channels = x.shape[-1]
    total = sum(squares[..., i : i + channels] for i in range(size))
    return (x32 / (k + alpha / size * total) ** beta).astype(result_dtype(x))
