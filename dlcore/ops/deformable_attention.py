"""Multi-scale deformable attention: each query takes a weighted mean of a few points of a pyramid of maps.

Zhu et al. 2020, arXiv:2010.04159, equation 3.

    y[q, h] = sum_{levels l, points k} A[q, h, l, k] x_l(W_l px - 1/2, H_l py - 1/2)[h],   (px, py) = p[q, h, l, k]

x_l(...) is bilinear, with zeros outside the map. Equal to the sum over the levels of torch's `grid_sample`. All levels
lie in one array, so that four gathers, one a corner, read all points of all levels.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import check_choice, is_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["deformable_attention"]


def deformable_attention(
    value: jax.Array,
    shapes: Sequence[tuple[int, int]],
    locations: jax.Array,
    weights: jax.Array,
    num_points: int | Sequence[int] | None = None,
    method: Literal["bilinear", "discrete"] = "bilinear",
) -> jax.Array:
    """Sum the values at the sampled points of all levels.

    Args:
      value: [B, N, H, D], the maps row by row, one level after the other; N adds up the locations of the levels.
      shapes: (rows, columns) of each level.
      locations: [B, Q, H, P, 2] of (x, y), where 0 and 1 are the edges of the map; the points of the first level first.
      weights: [B, Q, H, P], factors of the points.
      num_points: points of each level, adding up to P; a number is for all levels, None spreads P evenly.
      method: bilinear; or discrete (RT-DETRv2), the value at row floor(H y + 1/2) and column floor(W x + 1/2), moved
        inside the map, which has no gradient with respect to the locations.

    Returns:
      [B, Q, H, D], with the dtype of value; computed in float32 at least.
    """
    check_choice("method", method, ("bilinear", "discrete"))
    if np.shape(shapes)[1:] != (2,) or not all(is_whole_number(n) and n >= 1 for shape in shapes for n in shape):
        raise ValueError(f"shapes={shapes}: no maps; allowed: (rows, columns) of at least 1 for each level")
    places = sum(rows * columns for rows, columns in shapes)
    check_shapes(value=(value, f"B {places} H D"), locations=(locations, "B Q H P 2"), weights=(weights, "B Q H P"))
    total, levels = weights.shape[-1], len(shapes)
    if num_points is None:
        num_points = total // levels
    counts = tuple(num_points) if isinstance(num_points, Sequence | np.ndarray) else (num_points,) * levels
    is_count = all(is_whole_number(count) and count >= 0 for count in counts)
    if len(counts) != levels or not is_count or sum(counts) != total:
        raise ValueError(f"num_points={num_points}: {total} points in {levels} levels; allowed: counts that add up")
    acc_dtype = acc_dtype_of(value, locations, weights)
    # Facts of the level of each point, [P].
    rows, columns = (np.repeat([shape[axis] for shape in shapes], counts) for axis in (0, 1))
    first = np.repeat(np.cumsum([0, *(a * b for a, b in shapes[:-1])]), counts)
    locations, weights = locations.astype(acc_dtype), weights.astype(acc_dtype)
    u, v = locations[..., 0] * columns, locations[..., 1] * rows  # [B, Q, H, P], pixels from the upper left corner
    flat = jnp.swapaxes(value, 1, 2)  # [B, H, N, D]

    def read(row: jax.Array, column: jax.Array) -> jax.Array:
        """Values at whole rows and columns inside the map, [B, Q, H, P] -> [B, H, Q, P, D]."""
        index = jnp.swapaxes((first + row * columns + column).astype(jnp.int32), 1, 2)
        return jax.vmap(jax.vmap(lambda maps, at: jnp.take(maps, at, axis=0)))(flat, index).astype(acc_dtype)

    def total_of(samples: jax.Array, factors: jax.Array) -> jax.Array:
        return jnp.einsum("bhqpd,bqhp->bqhd", samples, factors, precision=lax.Precision.HIGHEST)

    if method == "discrete":
        row, column = (jnp.clip(jnp.floor(c + 0.5), 0, n - 1) for c, n in ((v, rows), (u, columns)))
        return total_of(read(row, column), weights).astype(value.dtype)
    u, v = u - 0.5, v - 0.5
    left, top = lax.stop_gradient(jnp.floor(u)), lax.stop_gradient(jnp.floor(v))
    across, down = u - left, v - top
    out = jnp.zeros((), acc_dtype)
    for row, column, factor in (
        (top, left, (1 - down) * (1 - across)),
        (top, left + 1, (1 - down) * across),
        (top + 1, left, down * (1 - across)),
        (top + 1, left + 1, down * across),
    ):
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        samples = read(jnp.where(inside, row, 0), jnp.where(inside, column, 0))
        out += total_of(samples, jnp.where(inside, weights * factor, 0))
    return out.astype(value.dtype)
