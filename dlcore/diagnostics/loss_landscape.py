"""The loss on a plane through trained parameters, along random filter-normalized directions.

Li, Xu, Taylor, Studer & Goldstein, "Visualizing the loss landscape of neural nets" (2018), arXiv:1712.09913.

    f(a, b) = L(w + a d + b e)            d_ij <- d_ij / |d_ij| |w_ij|, j a filter of layer i; e likewise

Without the normalization a flat surface may only mean that the weights are large: with batch norm, a network is the
same function at twice the weights. Biases and the scales of normalization layers do not move (d = 0), as in the paper.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = ["filter_normalized_direction", "loss_surface"]


def filter_normalized_direction(key: jax.Array, params: Any) -> Any:
    """Sample a random direction whose filters have the norms of the parameters' filters.

    Args:
      key: PRNG key of the normal samples.
      params: any pytree; a filter is a slice along the last axis of a kernel [..., out].

    Returns:
      A tree like `params`; leaves with fewer than two axes are zeros.
    """
    leaves, tree = jax.tree.flatten(params)

    def direction(key: jax.Array, w: jax.Array) -> jax.Array:
        if w.ndim < 2:
            return jnp.zeros_like(w)
        d, axes = jax.random.normal(key, w.shape, acc_dtype_of(w)), tuple(range(w.ndim - 1))
        length = jnp.sqrt(jnp.square(to_acc_dtype(w)).sum(axes)) / jnp.sqrt(jnp.square(d).sum(axes))
        return (d * length).astype(w.dtype)

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(tree, [direction(k, w) for k, w in zip(keys, leaves, strict=True)])


def loss_surface(
    loss: Callable[[Any], jax.Array], params: Any, directions: tuple[Any, Any], offsets: jax.Array
) -> jax.Array:
    """Compute L(w + a d + b e) for all pairs of offsets, one after the other.

    Args:
      loss: params -> scalar.
      params: w, any pytree.
      directions: (d, e), trees like `params`.
      offsets: [K], the values of a and of b.

    Returns:
      [K, K], a along rows and b along columns.
    """
    check_shapes(offsets=(offsets, "K"))
    check_finite("offsets", offsets)
    if not isinstance(directions, tuple | list) or len(directions) != 2:
        count = len(directions) if isinstance(directions, tuple | list) else type(directions).__name__
        raise ValueError(f"directions: {count} of them; allowed: two")
    shapes = jax.tree.map(jnp.shape, params)
    if bad := [i for i in range(2) if jax.tree.map(jnp.shape, directions[i]) != shapes]:
        raise ValueError(f"directions[{bad[0]}]: of other names or shapes than params; allowed: a tree like params")

    def loss_at(a: jax.Array, b: jax.Array) -> jax.Array:
        return loss(jax.tree.map(lambda w, d, e: w + a * d + b * e, params, *directions))

    count = len(offsets)
    a, b = (grid.reshape(-1) for grid in jnp.meshgrid(offsets, offsets, indexing="ij"))
    return jax.lax.map(lambda x: loss_at(*x), (a, b)).reshape(count, count)
