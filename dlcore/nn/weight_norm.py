"""Normalisation of a layer's weights in place of its activations.

    weight norm             w = g v / |v|                    for each output, g learned: length and direction apart
    spectral norm           w = v / sigma                    sigma = u^T v z, the largest singular value
                            z <- v^T u / |v^T u|,  u <- v z / |v z|      one step of the power iteration a call
    weight standardisation  w = (v - mean) / sqrt(var + eps)             over the inputs of each output

Salimans & Kingma 2016, arXiv:1602.07868; Miyato, Kataoka, Koyama & Yoshida 2018, arXiv:1802.05957 (spectral; used by
SAGAN); Qiao, Wang, Liu, Shen & Yuille 2019, arXiv:1903.10520 (standardisation).

Kernels are flax's, [..., inputs, outputs]: one vector v for each entry of the last axis. `WeightNorm` and
`SpectralNorm` are flax's wrappers of a layer: SpectralNorm(nn.Dense(4))(x, update_stats=train) keeps u in
`batch_stats`. flax's WeightNorm starts with g = 1, torch's with g = |v|, which leaves the layer as it was.
Standardisation adds eps to the variance, as the authors' code does; the paper adds it to the deviation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import SpectralNorm, WeightNorm
from jax import lax

__all__ = [
    "SpectralNorm",
    "WeightNorm",
    "WeightStandardization",
    "spectral_norm",
    "standardize_weight",
    "weight_norm",
]


def weight_norm(v: jax.Array, g: jax.Array | float = 1.0, axis: int = -1) -> jax.Array:
    """The kernel of direction v and length g for each entry of `axis`. A v of zeros stays zeros.

    v: any shape; g: a scalar or [v.shape[axis]]. Raises ValueError for a g of another shape.
    """
    g = jnp.asarray(g)
    if g.ndim and g.shape != (v.shape[axis],):
        raise ValueError(
            f"g has shape {g.shape}: a scalar or {(v.shape[axis],)} is needed for v {v.shape}, axis {axis}"
        )
    shape = [1] * v.ndim
    shape[axis] = -1
    others = tuple(i for i in range(v.ndim) if i != axis % v.ndim)
    squared = jnp.square(v).sum(others, keepdims=True)
    inverse = jnp.where(squared > 0, lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0)
    return (v * inverse * g.reshape(shape)).astype(v.dtype)


def spectral_norm(
    kernel: jax.Array, u: jax.Array, steps: int = 1, epsilon: float = 1e-12
) -> tuple[jax.Array, jax.Array]:
    """(kernel over its largest singular value, the next u), after `steps` of the power iteration.

    kernel: [..., C], taken as a matrix of C rows; u: [C], any start that is not orthogonal to the leading singular
    vector: keep it between calls, and one step a call is enough. No gradient goes through u. A kernel of zeros stays.

    Raises ValueError for a u of another shape or fewer than one step.
    """
    if u.shape != kernel.shape[-1:]:
        raise ValueError(f"u has shape {u.shape}: {kernel.shape[-1:]} is needed for a kernel {kernel.shape}")
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least one is needed")
    matrix = kernel.reshape(-1, kernel.shape[-1])
    for _ in range(steps):
        z = _unit(matrix @ u, epsilon)
        u = _unit(z @ matrix, epsilon)
    z, u = lax.stop_gradient((z, u))
    sigma = z @ matrix @ u
    return kernel / jnp.where(sigma == 0, 1, sigma), u


def standardize_weight(kernel: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """The kernel [..., inputs, C] with mean 0 and variance 1 over all axes but the last; constant columns get 0."""
    axes = tuple(range(kernel.ndim - 1))
    wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    centred = wide - wide.mean(axes, keepdims=True)
    var = jnp.square(centred).mean(axes, keepdims=True)
    return (centred * lax.rsqrt(var + jnp.asarray(epsilon, var.dtype))).astype(kernel.dtype)


class WeightStandardization(nn.Module):
    """A layer whose kernels are standardised at every use: WeightStandardization(Conv(8, (3, 3)))(x).

    The parameters stay the layer's own, where they were. Biases are left as they are.
    """

    layer_instance: nn.Module
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer gives for the same arguments."""

        def standardized(variables: Any) -> Any:
            return jax.tree.map(lambda v: standardize_weight(v, self.epsilon) if v.ndim > 1 else v, variables)

        return nn.map_variables(
            lambda layer: layer(*args, **kwargs), "params", trans_in_fn=standardized, init=self.is_initializing()
        )(self.layer_instance)


def _unit(v: jax.Array, epsilon: float) -> jax.Array:
    return v * lax.rsqrt(jnp.square(v).sum() + epsilon)
