"""Activations: jax's own where they are the same function, and what jax lacks or has another default for.

    sigmoid     1 / (1 + e^-x)                      tanh        2 sigmoid(2 x) - 1
    relu        max(0, x)                           leaky relu  max(a x, x),  0 < a < 1
    elu         x > 0: x,  else a (e^x - 1)         selu        l elu(x) with a = 1.6733, l = 1.0507
    gelu        x P(X <= x),  X ~ N(0, 1)           softplus    log(1 + e^x)
    maxout      max_k (w_k x + b_k)                 PReLU       leaky relu, a learned

Nair & Hinton 2010; Maas et al. 2013; He et al. 2015, arXiv:1502.01852 (PReLU); Clevert et al. 2016, arXiv:1511.07289
(ELU); Klambauer et al. 2017, arXiv:1706.02515 (SELU); Hendrycks & Gimpel 2016, arXiv:1606.08415 (GELU); Goodfellow et
al. 2013, arXiv:1302.4389 (maxout).

`gelu` is exact, as in the paper and torch; jax's default is the tanh approximation. The slope of the leaky relu is 0.01
by default: Maas et al. have 0.01, others 0.1 or 0.2. flax's PReLU has one slope for all channels, 0.01 at first.
"""

import functools
import math
from collections.abc import Callable
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

from dlcore.choices import is_whole_number
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_shapes, describe_array
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = [
    "ACTIVATIONS",
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
    "named_activation",
    "quick_gelu",
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
    """ReLU, max(0, x), with a choice of gradient at 0.

    Args:
      x: [...].
      slope_at_zero: gradient at exactly 0; every number in [0, 1] is a subgradient.

    Returns:
      [...].
    """
    check_shapes(slope_at_zero=(slope_at_zero, "... finite"))
    return jnp.where(x == 0, slope_at_zero * x, jax.nn.relu(x))


def leaky_relu(x: jax.Array, negative_slope: float | jax.Array = 0.01) -> jax.Array:
    """Leaky ReLU: x where positive, else a times x; the gradient at 0 is a, as in torch, where jax has 1.

    Args:
      x: [...].
      negative_slope: a.

    Returns:
      [...].
    """
    check_shapes(negative_slope=(negative_slope, "... finite"))
    return _leaky_relu(x, negative_slope)


@jax.jit
def _leaky_relu(x: jax.Array, negative_slope: float | jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, negative_slope * x)


def gelu(x: jax.Array, approximate: bool = False) -> jax.Array:
    """GELU: x times the probability that a standard normal variable is below x.

    Args:
      x: [...].
      approximate: use the tanh approximation, within 5e-4 of the exact form.

    Returns:
      [...].
    """
    if approximate:
        return jax.nn.gelu(x)
    x = jnp.asarray(x, jnp.result_type(x, 0.0))
    x32 = to_acc_dtype(x)  # 1 + erf loses the small values of a narrow type
    return (x32 * (0.5 * (1 + jax.lax.erf(x32 * math.sqrt(0.5))))).astype(x.dtype)


def quick_gelu(x: jax.Array) -> jax.Array:
    """Approximate GELU by x sigmoid(1.702 x), as CLIP was trained.

    Args:
      x: [...].

    Returns:
      [...].
    """
    return x * jax.nn.sigmoid(1.702 * x)


def named_activation(name: str, argument: str = "activation") -> Callable[[jax.Array], jax.Array]:
    """Find an activation by the name that transformers' configurations have for it.

    Args:
      name: name from `ACTIVATIONS`.
      argument: what the error calls it.

    Returns:
      The function, [...] -> [...].
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"{argument}={name!r}: unknown; allowed: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def stochastic_gelu(rng: jax.Array, x: jax.Array) -> jax.Array:
    """Keep x where a standard normal draw is below it, else 0: the input-dependent dropout whose mean is GELU.

    Args:
      rng: PRNG key.
      x: [...], floats.

    Returns:
      [...].
    """
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(f"x={describe_array(x)}: no floats; allowed: such as float32")
    return jnp.where(jax.random.normal(rng, x.shape, acc_dtype_of(x)) <= x, x, 0)


def hard_tanh(x: jax.Array) -> jax.Array:
    """Clip to [-1, 1]; the gradient at -1 and 1 is zero, as in torch, where jax has 1.

    Args:
      x: [...].

    Returns:
      [...], in [-1, 1].
    """
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))


def tanh_shrink(x: jax.Array) -> jax.Array:
    """Tanh shrinkage, x - tanh x.

    Args:
      x: [...].

    Returns:
      [...].
    """
    x, dtype = to_acc_dtype(x), result_dtype(x)
    # Near 0 the difference has no digits left: Taylor's series, |x| < 0.3.
    square = jnp.square(jnp.clip(x, -0.3, 0.3))
    series = 1 / 3 - square * (2 / 15 - square * (17 / 315 - square * (62 / 2835 - square * 1382 / 155925)))
    return jnp.where(jnp.abs(x) < 0.3, x * square * series, x - jnp.tanh(x)).astype(dtype)


def soft_shrink(x: jax.Array, threshold: float | jax.Array = 0.5) -> jax.Array:
    """Soft shrinkage: move values towards 0 by a threshold, to 0 where they are within it.

    Args:
      x: [...].
      threshold: the distance, at least 0.

    Returns:
      [...].
    """
    check_shapes(threshold=(threshold, "... >= 0"))
    return jnp.where(jnp.abs(x) > threshold, x - threshold * jnp.sign(x), 0)


def hard_shrink(x: jax.Array, threshold: float | jax.Array = 0.5) -> jax.Array:
    """Hard shrinkage: set values within a threshold of 0 to 0.

    Args:
      x: [...].
      threshold: largest absolute value that becomes 0, at least 0.

    Returns:
      [...].
    """
    check_shapes(threshold=(threshold, "... >= 0"))
    return jnp.where(jnp.abs(x) > threshold, x, 0)


def maxout(x: jax.Array, pieces: int = 2) -> jax.Array:
    """Maxout: the largest of x[..., f], x[..., F + f], x[..., 2 F + f] and so on for each feature f.

    Args:
      x: [..., pieces F].
      pieces: number of candidates for each feature.

    Returns:
      [..., F].
    """
    check_shapes(x=(x, "... F"))
    if not is_whole_number(pieces) or pieces < 1 or x.shape[-1] % pieces:
        raise ValueError(f"pieces={pieces}: not a divisor; allowed: divisors of the {x.shape[-1]} channels of x")
    return x.reshape(*x.shape[:-1], pieces, x.shape[-1] // pieces).max(-2)


class PReLU(CheckedModule):
    """PReLU: x where positive, else a learned slope times x; the gradient at 0 is the slope, as in torch.

    Parameter `negative_slope`: [C], or a scalar.

    Args:
      per_channel: learn one slope for each channel (the last axis) instead of one for all.
      negative_slope_init: initial slope.
      param_dtype: dtype of the slope.
    """

    per_channel: bool = True
    negative_slope_init: float = 0.25
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply PReLU.

        Args:
          x: [..., C].

        Returns:
          [..., C].
        """
        shape = x.shape[-1:] if self.per_channel else ()
        slope = self.param(
            "negative_slope", nn.initializers.constant(self.negative_slope_init), shape, self.param_dtype
        )
        return _leaky_relu(x, slope.astype(x.dtype))


class Maxout(CheckedModule):
    """Maxout layer: the largest of several dense layers of the same input; with two it can represent any (leaky) ReLU.

    The kernel of the submodule `dense` is [inputs, pieces features]; its first `features` columns are the first layer.

    Args:
      features: outputs.
      pieces: number of dense layers.
      use_bias: add a bias to each dense layer.
      param_dtype: dtype of the parameters.
    """

    features: Count
    pieces: Count = 2
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the dense layers and take their maximum.

        Args:
          x: [..., inputs].

        Returns:
          [..., features].
        """
        width = self.features * self.pieces
        dense = Dense(
            width,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            name="dense",
        )
        return maxout(dense(x), self.pieces)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_new": functools.partial(gelu, approximate=True),
    "gelu_pytorch_tanh": functools.partial(gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": relu,
    "silu": jax.nn.silu,
}
"""Activations by the names of transformers' configurations (`hidden_act`)."""
