"""Normalization of a layer's weights instead of its activations.

    weight norm             w = g v / |v|                    for each output; length g and direction v are learned
    spectral norm           w = v / sigma                    sigma = u^T v z, the largest singular value
                            z <- v^T u / |v^T u|,  u <- v z / |v z|      one power iteration in each call
    weight standardization  w = (v - mean) / sqrt(var + eps)             over the inputs of each output

Salimans & Kingma 2016, arXiv:1602.07868; Miyato, Kataoka, Koyama & Yoshida 2018, arXiv:1802.05957 (spectral; used by
SAGAN); Qiao, Wang, Liu, Shen & Yuille 2019, arXiv:1903.10520 (standardization).

Kernels are flax's, [..., inputs, outputs]: one vector v for each entry of the last axis. `WeightNorm` and
`SpectralNorm` are flax's wrappers of a layer: SpectralNorm(Dense(4))(x, update_stats=train) keeps u in
`batch_stats`. flax's WeightNorm starts with g = 1; torch's starts with g = |v|, which does not change the layer.
Standardization adds eps to the variance, as the authors' code does; the paper adds it to the deviation.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import SpectralNorm, WeightNorm
from jax import lax

from dlcore.choices import is_whole_number
from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["SpectralNorm", "WeightNorm", "WeightStandardization", "spectral_norm", "standardize_weight", "weight_norm"]


def weight_norm(v: jax.Array, g: jax.Array | float = 1.0, axis: int = -1) -> jax.Array:
    """Weight norm: the kernel with given direction and length for each entry of an axis.

    Args:
      v: kernel of any shape, whose direction is taken; zeros stay zeros.
      g: lengths, a scalar or [v.shape[axis]].
      axis: axis of the outputs.

    Returns:
      The shape of v.
    """
    check_shapes(g=(g, "... finite"))
    check_shapes(axis=(axis, f"int {-v.ndim} to {max(v.ndim - 1, 0)}"))
    g = jnp.asarray(g)
    if g.ndim and g.shape != (v.shape[axis],):
        raise ValueError(f"{g.shape=}: does not fit {v.shape=}; allowed: () or {(v.shape[axis],)}")
    shape = [1] * v.ndim
    shape[axis] = -1
    reduced_axes = tuple(i for i in range(v.ndim) if i != axis % v.ndim)
    v, g, dtype = to_acc_dtype(v), to_acc_dtype(g), result_dtype(v)
    squared = jnp.square(v).sum(reduced_axes, keepdims=True)
    inverse = jnp.where(squared > 0, lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0)
    return (v * inverse * g.reshape(shape)).astype(dtype)


def spectral_norm(
    kernel: jax.Array, u: jax.Array, steps: int = 1, epsilon: float = 1e-12
) -> tuple[jax.Array, jax.Array]:
    """Spectral norm: divide a kernel by its largest singular value, from steps of the power iteration.

    No gradient goes through u. A kernel of zeros stays zeros.

    Args:
      kernel: [..., C], taken as a matrix of C columns.
      u: [C], start vector that is not orthogonal to the leading singular vector; if it is kept between calls, one step
        a call is enough.
      steps: steps of the power iteration.
      epsilon: added to squared norms.

    Returns:
      (normalized kernel, u for the next call).
    """
    check_shapes(epsilon=(epsilon, ">= 0"))
    if u.shape != kernel.shape[-1:]:
        raise ValueError(f"u.shape={u.shape}: does not fit kernel.shape={kernel.shape}; allowed: {kernel.shape[-1:]}")
    if not is_whole_number(steps) or steps < 1:
        raise ValueError(f"steps={steps}: too few; allowed: at least 1, whole")
    matrix, u = to_acc_dtype(kernel).reshape(-1, kernel.shape[-1]), to_acc_dtype(u)
    for _ in range(steps):
        z = _unit(matrix @ u, epsilon)
        u = _unit(z @ matrix, epsilon)
    z, u = lax.stop_gradient((z, u))
    sigma = z @ matrix @ u
    return (kernel / jnp.where(sigma == 0, 1, sigma)).astype(result_dtype(kernel)), u


def standardize_weight(kernel: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Weight standardization: mean 0 and variance 1 over the inputs of each output; constant columns become 0.

    Args:
      kernel: [..., inputs, C].
      epsilon: added to the variance.

    Returns:
      The shape of `kernel`.
    """
    check_shapes(epsilon=(epsilon, ">= 0"))
    if kernel.ndim < 2:
        raise ValueError(f"kernel.shape={kernel.shape}: no inputs to average over; allowed: [..., inputs, C]")
    axes = tuple(range(kernel.ndim - 1))
    kernel32 = to_acc_dtype(kernel)
    centered = kernel32 - kernel32.mean(axes, keepdims=True)
    var = jnp.square(centered).mean(axes, keepdims=True)
    return (centered * lax.rsqrt(var + jnp.asarray(epsilon, var.dtype))).astype(result_dtype(kernel))


class WeightStandardization(CheckedModule):
    """Wrapper that standardizes a layer's kernels at every use: WeightStandardization(Conv(8, (3, 3)))(x).

    The parameters stay the layer's own, with the same paths. Biases do not change.

    Args:
      layer_instance: the layer.
    """

    layer_instance: nn.Module
    epsilon: Annotated[float, Range(0)] = 1e-5

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with standardized kernels.

        Args:
          *args: positional arguments of the layer.
          **kwargs: keyword arguments of the layer.

        Returns:
          The layer's output.
        """

        def standardized(variables: Any) -> Any:
            return jax.tree.map(lambda v: standardize_weight(v, self.epsilon) if v.ndim > 1 else v, variables)

        return nn.map_variables(
            lambda layer: layer(*args, **kwargs), "params", trans_in_fn=standardized, init=self.is_initializing()
        )(self.layer_instance)


def _unit(v: jax.Array, epsilon: float) -> jax.Array:
    return v * lax.rsqrt(jnp.square(v).sum() + epsilon)
