"""Normalisation within one example, the same in training and in use and at every batch size.

    y = (x - mean) / sqrt(var + eps) * scale + bias                 x: [B, H, W, C], scale and bias: [C]

    layer norm      mean and var over the channels of each position
    group norm      over the positions and a group of channels
    instance norm   over the positions of one channel
    RMS norm        y = x / sqrt(mean x^2 + eps) * scale, over the channels of each position
    local response  y = x / (k + alpha mean over the n neighbouring channels of x^2)^beta

Ba, Kiros & Hinton 2016, arXiv:1607.06450 (layer); Wu & He 2018, arXiv:1803.08494 (group); Ulyanov, Vedaldi & Lempitsky
2016, arXiv:1607.08022 (instance); Zhang & Sennrich 2019, arXiv:1910.07467 (RMS); Krizhevsky, Sutskever & Hinton 2012
(local response, AlexNet).

The layers are flax's (group norm is our own) with torch's epsilon, 1e-5 (flax has 1e-6), and with the variance about
the mean: flax's default, E[x^2] - E[x]^2, cancels where the mean is large. Group norm with one group spans all channels
and positions. Local response norm divides alpha by n as torch does; AlexNet's paper does not, so that its alpha 1e-4 is
5e-4 here.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm", "local_response_norm"]


class LayerNorm(nn.LayerNorm):
    """Normalise each position over its channels: [..., C] -> [..., C].

    reduction_axes: what is averaged over, (-3, -2, -1) for the whole of a map; parameters are on `feature_axes`.
    """

    epsilon: float = 1e-5
    use_fast_variance: bool = False


class RMSNorm(nn.RMSNorm):
    """Divide each position by the root mean square of its channels, without centring: [..., C] -> [..., C]."""

    epsilon: float = 1e-5
    use_fast_variance: bool = False


class GroupNorm(nn.Module):
    """Normalise groups of neighbouring channels over all positions: [B, ..., C] -> [B, ..., C].

    num_groups divides C, or group_size with num_groups None. One group is layer norm over the whole example, as many
    as channels are instance norm. Statistics are taken in at least float32; `dtype` is that of the output (None: by
    promotion). With a backward pass of its own, which reads x and the cotangent twice (no forward mode, as in `Conv`).
    """

    num_groups: int | None = 32
    group_size: int | None = None
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Any = nn.initializers.zeros
    scale_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Raises ValueError where the groups do not divide C, or where both or neither way to give them is used."""
        channels = x.shape[-1]
        if (self.num_groups is None) == (self.group_size is None):
            raise ValueError(
                f"num_groups={self.num_groups} and group_size={self.group_size}: one must be given, the other be None"
            )
        name, value = ("num_groups", self.num_groups) if self.group_size is None else ("group_size", self.group_size)
        if value < 1 or channels % value:
            raise ValueError(f"{name}={value} must divide the {channels} channels of x")
        scale = self.param("scale", self.scale_init, (channels,), self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, (channels,), self.param_dtype) if self.use_bias else None
        dtype = self.dtype or jnp.result_type(x, *(p for p in (scale, bias) if p is not None))
        wide = jnp.promote_types(x.dtype, jnp.float32)
        a = jnp.ones(channels, wide) if scale is None else scale.astype(wide)
        c = jnp.zeros(channels, wide) if bias is None else bias.astype(wide)
        groups = channels // value if self.num_groups is None else value
        y = _group_norm(
            x.reshape(x.shape[0], math.prod(x.shape[1:-1]), channels).astype(wide), a, c, groups, self.epsilon
        )
        return y.reshape(x.shape).astype(dtype)


def _by_group(values: jax.Array, groups: int) -> jax.Array:
    """[B, C] to the mean of each group of channels, at each of its channels."""
    size = values.shape[1] // groups
    return jnp.repeat(values.reshape(len(values), groups, size).mean(-1), size, 1)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float) -> jax.Array:
    """x: [B, N, C] -> [B, N, C]."""
    return _group_norm_forward(x, scale, bias, groups, epsilon)[0]


def _group_norm_forward(x, scale, bias, groups, epsilon):
    mean = _by_group(x.mean(1), groups)
    deviation = lax.rsqrt(_by_group(jnp.square(x - mean[:, None]).mean(1), groups) + epsilon)
    return (x - mean[:, None]) * (deviation * scale)[:, None] + bias, (x, scale, mean, deviation)


def _group_norm_backward(groups, epsilon, saved, dy):
    """dx = r (g - mean g - xhat mean(g xhat)),   g = scale dy,  r = 1 / sqrt(var + eps),  xhat = r (x - mean)."""
    x, scale, mean, r = saved
    shift = dy.sum(1)
    centred = x - mean[:, None]
    stretch = (centred * dy).sum(1) * r
    g_mean, g_xhat = (_by_group(scale * s, groups) / x.shape[1] for s in (shift, stretch))
    dx = dy * (r * scale)[:, None] - centred * (r * r * g_xhat)[:, None] - (r * g_mean)[:, None]
    return dx, stretch.sum(0), shift.sum(0)


_group_norm.defvjp(_group_norm_forward, _group_norm_backward)


class InstanceNorm(nn.InstanceNorm):
    """Normalise each channel of each example over its positions: [B, ..., C] -> [B, ..., C].

    torch's has no scale and bias unless affine: use_scale=False, use_bias=False here.
    """

    epsilon: float = 1e-5
    use_fast_variance: bool = False


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:
    """Divide each value of x: [..., C] by a power of the squares of `size` channels around it; zeros beyond the ends.

    An even size reaches one channel further down than up. torch's default k is 1, AlexNet's 2.

    Raises ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; at least one channel is needed")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(wide), padding)
    channels = x.shape[-1]
    total = sum(squares[..., i : i + channels] for i in range(size))
    return (wide / (k + alpha / size * total) ** beta).astype(x.dtype)
