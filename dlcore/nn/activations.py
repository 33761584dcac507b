"""Activations: jax's own where they are the same function, and what jax lacks or has another default for.

    sigmoid     1 / (1 + e^-x)                      tanh        2 sigmoid(2 x) - 1
    relu        max(0, x)                           leaky relu  max(a x, x),  0 < a < 1
    elu         x > 0: x,  else a (e^x - 1)         selu        l elu(x) with a = 1.6733, l = 1.0507
    gelu        x P(X <= x),  X ~ N(0, 1)           softplus    log(1 + e^x)
    maxout      max_k (w_k x + b_k)                 PReLU       leaky relu, a learned

Nair & Hinton 2010; Maas et al. 2013; He et al. 2015, arXiv:1502.01852 (PReLU); Clevert et al. 2016, arXiv:1511.07289
(ELU); Klambauer et al. 2017, arXiv:1706.02515 (SELU); Hendrycks & Gimpel 2016, arXiv:1606.08415 (GELU); Goodfellow et
al. 2013, arXiv:1302.4389 (maxout).

`gelu` is the exact one, as the paper and torch have it; jax's default is the tanh approximation. The leaky relu's slope
is 0.01 unless given: Maas et al. have 0.01, others 0.1 or 0.2. flax's PReLU has one slope and starts at 0.01.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import (
    celu,
    elu,
    glu,
    hard_sigmoid,
    hard_swish,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softmax,
    softplus,
    tanh,
)

__all__ = [
    "Maxout",
    "PReLU",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "maxout",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "soft_sign",
    "softmax",
    "softplus",
    "stochastic_gelu",
    "tanh",
    "tanh_shrink",
]


def relu(x: jax.Array, slope_at_zero: float | jax.Array = 0.0) -> jax.Array:
    """max(0, x) of [...]. slope_at_zero: the gradient taken at 0, where any from 0 to 1 is a subgradient."""
    return jnp.where(x == 0, slope_at_zero * x, jax.nn.relu(x))


def gelu(x: jax.Array, approximate: bool = False) -> jax.Array:
    """x times the share of a standard normal below x, of [...]. approximate: by a tanh, within 5e-4 of it."""
    return jax.nn.gelu(x, approximate=approximate)


def stochastic_gelu(rng: jax.Array, x: jax.Array) -> jax.Array:
    """x where a standard normal draw is below it, else 0, of [...]: the data-led dropout whose mean is gelu."""
    return jnp.where(jax.random.normal(rng, x.shape, x.dtype) <= x, x, 0)


def hard_tanh(x: jax.Array) -> jax.Array:
    """[...] cut to [-1, 1]; no gradient at the edges, as in torch, where jax has 1."""
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))


def tanh_shrink(x: jax.Array) -> jax.Array:
    """x - tanh x of [...]."""
    return x - jnp.tanh(x)


def soft_shrink(x: jax.Array, threshold: float | jax.Array = 0.5) -> jax.Array:
    """[...] moved towards 0 by the threshold: 0 within it."""
    return jnp.where(jnp.abs(x) > threshold, x - threshold * jnp.sign(x), 0)


def hard_shrink(x: jax.Array, threshold: float | jax.Array = 0.5) -> jax.Array:
    """[...] with 0 for all within the threshold."""
    return jnp.where(jnp.abs(x) > threshold, x, 0)


def maxout(x: jax.Array, pieces: int = 2) -> jax.Array:
    """[..., pieces F] -> [..., F]: the largest of x[..., f], x[..., F + f], x[..., 2 F + f] and so on.

    Raises ValueError where the channels are no multiple of pieces.
    """
    if pieces < 1 or x.shape[-1] % pieces:
        raise ValueError(f"pieces is {pieces}; it must divide the {x.shape[-1]} channels of x")
    return x.reshape(*x.shape[:-1], pieces, -1).max(-2)


class PReLU(nn.Module):
    """x where positive, else `negative_slope` times x, learned; one slope a channel (the last axis) or one for all."""

    per_channel: bool = True
    initial_slope: float = 0.25
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] -> [..., C]."""
        shape = x.shape[-1:] if self.per_channel else ()
        slope = self.param("negative_slope", nn.initializers.constant(self.initial_slope), shape, self.param_dtype)
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


class Maxout(nn.Module):
    """The largest of several dense layers of the input: with 2 it has twice the parameters and can be any (leaky) ReLU.

    The kernel is [inputs, pieces features]; the first `features` columns are the first layer.
    """

    features: int
    pieces: int = 2
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., features]."""
        width = self.features * self.pieces
        dense = nn.Dense(
            width,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            name="dense",
        )
        return maxout(dense(x), self.pieces)
