"""Initial weights: their scale decides whether activations and gradients survive depth.

    name              draws                                     a layer of n inputs preserves
    normal(s)         s randn                                   nothing: s sqrt(n) is its gain
    uniform(a)        U[-a, a]
    xavier_normal     randn / sqrt(n)                           the variance of a linear (or tanh) layer
    kaiming_normal    randn sqrt(2 / n)                         the second moment through a ReLU
    kaiming_uniform   U[-sqrt(6 / n), sqrt(6 / n)]              the same: its variance is 2 / n
    torch_default     U[-1 / sqrt(n), 1 / sqrt(n)]              a third of the variance of Xavier

n is the fan-in. A kernel's last axis is its outputs, the one before its inputs, and the others are taps: a K x K
convolution of C channels has n = K^2 C (C / groups where it is grouped). Biases start at zero, or a little above in
front of a ReLU (`constant(0.01)`); the last layer of a residual branch starts at `zeros`, so the block starts as the
identity. A constant kernel never breaks symmetry: all units of the layer stay the same.

Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010); He, Zhang, Ren &
Sun, "Delving deep into rectifiers" (2015), arXiv:1502.01852; Saxe, McClelland & Ganguli (2013), arXiv:1312.6120
(orthogonal).

Each function returns an initializer (key, shape, dtype) -> array, as flax's layers take. The normal ones are not
truncated: flax's he_normal and glorot_normal are, at two standard deviations. Glorot & Bengio take n as the mean of
inputs and outputs (mode="fan_avg", as torch and flax do); here n is the inputs by default. torch's layers start with
kaiming_uniform(slope=sqrt(5)), which is torch_default and not the +-sqrt(6 / n) that is often written.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn.initializers import constant, lecun_normal, ones, variance_scaling, zeros

from dlcore.choices import check_choice
from dlcore.ops.checks import check_shapes
from dlcore.ops.orthonormal import orthonormal_columns

__all__ = [
    "constant",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "normal",
    "ones",
    "orthogonal",
    "torch_default",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Initializer = Callable[..., jax.Array]
Mode = Literal["fan_in", "fan_out", "fan_avg"]
_MODES = ("fan_in", "fan_out", "fan_avg")


def normal(std: float = 0.01) -> Initializer:
    """Gaussian initializer of mean 0.

    Args:
      std: standard deviation; 0.01 is fine for shallow nets and vanishes in deep ones, 0.05 saturates wide ones.

    Returns:
      An initializer (key, shape, dtype) -> array.
    """
    return jax.nn.initializers.normal(_not_negative("std", std))


def uniform(limit: float = 0.2) -> Initializer:
    """Uniform initializer on [-limit, limit), whose standard deviation is limit / sqrt(3).

    Args:
      limit: half the width of the interval.

    Returns:
      An initializer (key, shape, dtype) -> array.
    """
    limit = _not_negative("limit", limit)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) * jnp.asarray(limit, dtype)

    return init


def orthogonal(scale: float = 1.0) -> Initializer:
    """Orthogonal initializer (Saxe et al.): a kernel whose columns, or rows if these are fewer, are orthonormal.

    The values are those of `jax.nn.initializers.orthogonal` to rounding. That one can hang on a CPU under `vmap`
    (`dlcore.ops.orthonormal`).

    Args:
      scale: factor; every singular value of the kernel is `scale`.

    Returns:
      An initializer (key, shape, dtype) -> array for kernels [..., inputs, outputs]; the leading axes count as inputs.
    """
    check_shapes(scale=(scale, "finite"))

    def init(key, shape, dtype=jnp.float32):
        if len(shape) < 2:
            raise ValueError(f"shape={shape}: too few axes; allowed: [..., inputs, outputs]")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        draws = jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype)
        q = orthonormal_columns(draws)
        return scale * (q if rows >= columns else q.T).reshape(shape)

    return init


def xavier_normal(mode: Mode = "fan_in") -> Initializer:
    """Xavier (Glorot) initializer, Gaussian of variance 1 / n: with 512 inputs its standard deviation is 0.0442.

    Args:
      mode: n is "fan_in" (inputs), "fan_out" (outputs) or "fan_avg" (their mean).

    Returns:
      An initializer (key, shape, dtype) -> array for kernels [..., inputs, outputs].
    """
    return _scaled(1.0, mode, "normal")


def xavier_uniform(mode: Mode = "fan_in") -> Initializer:
    """Xavier (Glorot) initializer, uniform within sqrt(3 / n), of variance 1 / n.

    Args:
      mode: n is "fan_in" (inputs), "fan_out" (outputs) or "fan_avg" (their mean: the paper's sqrt(6 / (inputs +
        outputs))).

    Returns:
      An initializer (key, shape, dtype) -> array for kernels [..., inputs, outputs].
    """
    return _scaled(1.0, mode, "uniform")


def kaiming_normal(mode: Mode = "fan_in", slope: float = 0.0) -> Initializer:
    """Kaiming (He) initializer, Gaussian of variance 2 / ((1 + slope^2) n): with 512 inputs its deviation is 0.0625.

    Args:
      mode: n is "fan_in" (inputs; preserves the second moment of the outputs), "fan_out" (outputs; preserves that of
        the gradients) or "fan_avg" (their mean).
      slope: negative slope of the leaky ReLU that follows; 0 for a ReLU.

    Returns:
      An initializer (key, shape, dtype) -> array for kernels [..., inputs, outputs].
    """
    check_shapes(slope=(slope, "finite"))
    return _scaled(2 / (1 + slope**2), mode, "normal")


def kaiming_uniform(mode: Mode = "fan_in", slope: float = 0.0) -> Initializer:
    """Kaiming (He) initializer, uniform within sqrt(6 / ((1 + slope^2) n)): with 512 inputs within 0.1083.

    Args:
      mode: n is "fan_in" (inputs; preserves the second moment of the outputs), "fan_out" (outputs; preserves that of
        the gradients) or "fan_avg" (their mean).
      slope: negative slope of the leaky ReLU that follows; 0 for a ReLU.

    Returns:
      An initializer (key, shape, dtype) -> array for kernels [..., inputs, outputs].
    """
    check_shapes(slope=(slope, "finite"))
    return _scaled(2 / (1 + slope**2), mode, "uniform")


def torch_default() -> Initializer:
    """Initializer of torch's linear and convolution layers, uniform within 1 / sqrt(n).

    Returns:
      An initializer (key, shape, dtype) -> array for kernels [..., inputs, outputs].
    """
    return kaiming_uniform(slope=math.sqrt(5))


def _scaled(scale: float, mode: Mode, distribution: str) -> Initializer:
    check_choice("mode", mode, _MODES)
    draw = variance_scaling(scale, mode, distribution)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        if len(shape) < 2:
            raise ValueError(f"shape={tuple(shape)}: no fan-in; allowed: kernels [..., inputs, outputs]")
        return draw(key, shape, dtype) if math.prod(shape) else jnp.zeros(shape, dtype)

    return init


def _not_negative(name: str, value: float) -> float:
    check_shapes(**{name: (value, "finite")})
    if value < 0:
        raise ValueError(f"{name}={value}: out of range; allowed: finite numbers from 0")
    return value
