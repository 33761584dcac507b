"""Sampling an image at the points of a grid: the differentiable half of a spatial transformer.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu, "Spatial transformer networks" (2015), arXiv:1506.02025, equations 1 to 5.

    grid[p]  = theta (x_p, y_p, 1)                    x, y in [-1, 1] over the output
    y[p, c]  = sum over pixels q of x[q, c] max(0, 1 - |u_p - u_q|) max(0, 1 - |v_p - v_q|)

-1 and 1 are the outer edges of the border pixels, or, with align_corners, their centers. Equal to torch's `affine_grid`
and `grid_sample`, gradients included.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import check_whole_number
from dlcore.ops.precision import acc_dtype_of, result_dtype

__all__ = ["affine_grid", "bilinear_sample", "grid_sample"]


def affine_grid(theta: jax.Array, size: tuple[int, int], align_corners: bool = False) -> jax.Array:
    """Sampling grid of an affine map: the input location of each output pixel.

    Args:
      theta: [..., 2, 3], matrices from output coordinates (x, y, 1) to input coordinates (x, y).
      size: (H, W) of the output.
      align_corners: -1 and 1 are the centers of the border pixels instead of their outer edges.

    Returns:
      [..., H, W, 2] of (x, y), in [-1, 1] inside the image.
    """
    if theta.shape[-2:] != (2, 3):
        raise ValueError(f"theta.shape={theta.shape}: not an affine map; allowed: [..., 2, 3]")
    if np.shape(size) != (2,):
        raise ValueError(f"size={size}: not two sides; allowed: (H, W)")
    height, width = size
    check_whole_number("size", height)
    check_whole_number("size", width)
    if min(height, width) < 1:
        raise ValueError(f"size={size}: empty output; allowed: at least 1 for each axis")
    dtype = acc_dtype_of(theta.dtype)

    def axis(n: int) -> jax.Array:
        if align_corners:
            return jnp.linspace(-1, 1, n, dtype=dtype) if n > 1 else jnp.zeros(1, dtype)
        return (2 * jnp.arange(n, dtype=dtype) + 1) / n - 1

    x, y = jnp.meshgrid(axis(width), axis(height))
    points = jnp.stack([x, y, jnp.ones_like(x)], -1)
    grid = jnp.einsum("...ij,hwj->...hwi", theta.astype(dtype), points, precision=lax.Precision.HIGHEST)
    return grid.astype(result_dtype(theta))


def grid_sample(
    x: jax.Array, grid: jax.Array, method: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> jax.Array:
    """Sample images at the locations of a grid.

    Args:
      x: [N, H, W, C].
      grid: [N, H', W', 2] of (x, y); [-1, 1] spans the image.
      method: "bilinear", "nearest" (no gradient with respect to the grid) or "bicubic" (a = -0.75).
      padding_mode: values outside the image: "zeros", "border" (the nearest border pixel) or "reflection" (at the edges
        of the border pixels, or, with align_corners, at their centers).
      align_corners: -1 and 1 are the centers of the border pixels instead of their outer edges.

    Returns:
      [N, H', W', C], with the dtype of x; float32 for integers, unless the method is nearest.
    """
    if method not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"method={method!r}: unknown; allowed: bilinear, nearest or bicubic")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"padding_mode={padding_mode!r}: unknown; allowed: zeros, border or reflection")
    if x.ndim != 4 or grid.ndim != 4 or grid.shape[-1] != 2 or grid.shape[0] != x.shape[0] or 0 in x.shape[1:3]:
        raise ValueError(f"{x.shape=}, {grid.shape=}: do not fit; allowed: [N, H, W, C], [N, H', W', 2]")
    acc_dtype = jnp.result_type(jnp.float32, grid)
    height, width = x.shape[1:3]
    u, v = (
        ((grid[..., i].astype(acc_dtype) + 1) * n - 1) / 2
        if not align_corners
        else (grid[..., i].astype(acc_dtype) + 1) * (n - 1) / 2
        for i, n in ((0, width), (1, height))
    )

    def inside(c: jax.Array, n: int) -> jax.Array:
        if padding_mode == "reflection":
            c = _reflect(c, n, align_corners)
        return c if padding_mode == "zeros" else _clip(c, n)

    sample = jax.vmap(_pixels)
    if method == "nearest":
        return sample(x, jnp.round(inside(v, height)), jnp.round(inside(u, width)))
    if method == "bilinear":
        return bilinear_sample(x, inside(v, height), inside(u, width))
    top, left = jnp.floor(v), jnp.floor(u)
    across, down = _cubic_weights(u - left), _cubic_weights(v - top)
    rows = [inside(top + i - 1, height) for i in range(4)]
    columns = [inside(left + i - 1, width) for i in range(4)]
    total = sum((down[i] * across[j])[..., None] * sample(x, rows[i], columns[j]) for i in range(4) for j in range(4))
    return jnp.asarray(total).astype(result_dtype(x))


def bilinear_sample(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Sample images at real-valued pixel coordinates by bilinear interpolation; values outside are zeros.

    Coordinates count pixel centers from 0: row 0.75 and column 0.25 of [[0, 1], [2, 3]] is 0 + 0.25 + 0.75 * 2 = 1.75.

    Args:
      x: [N, H, W, C].
      rows: [N, ...], vertical coordinates.
      columns: [N, ...], horizontal coordinates.

    Returns:
      [N, ..., C], with the dtype of x; float32 for integers.
    """
    if x.ndim != 4 or rows.shape != columns.shape or rows.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"x.shape={x.shape}, rows.shape={rows.shape} and columns.shape={columns.shape}: do not fit; "
            "allowed: [N, H, W, C] and two of [N, ...]"
        )
    acc_dtype = acc_dtype_of(rows, x)
    rows, columns = rows.astype(acc_dtype), columns.astype(acc_dtype)
    top, left = lax.stop_gradient(jnp.floor(rows)), lax.stop_gradient(jnp.floor(columns))
    down, across = rows - top, columns - left
    sample = jax.vmap(_pixels)
    total = 0
    for row, column, weight in (
        (top, left, (1 - down) * (1 - across)),
        (top, left + 1, (1 - down) * across),
        (top + 1, left, down * (1 - across)),
        (top + 1, left + 1, down * across),
    ):
        total += weight[..., None] * sample(x, row, column)
    return total.astype(result_dtype(x))


def _pixels(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """image: [H, W, C] at integer rows and columns [...], passed as floats -> [..., C]; zeros outside."""
    height, width, channels = image.shape
    inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    i, j = (jnp.where(inside, c, 0).astype(jnp.int32) for c in (row, column))
    values = jnp.take(image.reshape(-1, channels), i * width + j, axis=0)
    return jnp.where(inside[..., None], values, 0)


def _clip(c: jax.Array, n: int) -> jax.Array:
    """Clip to [0, n - 1]; the gradient at and beyond the ends is zero, as in torch."""
    return jnp.where(c <= 0, 0, jnp.where(c >= n - 1, n - 1, c)).astype(c.dtype)


def _reflect(c: jax.Array, n: int, align_corners: bool) -> jax.Array:
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if span == 0:
        return jnp.zeros_like(c)
    c = c - low
    c = jnp.where(c < 0, -c, c)
    turns = jnp.floor(lax.stop_gradient(c) / span)
    rest = c - turns * span
    return jnp.where(turns % 2 == 0, rest + low, span - rest + low)


def _cubic_weights(t: jax.Array, a: float = -0.75) -> list[jax.Array]:
    """Weights of the pixels at -1, 0, 1 and 2, for a location t in [0, 1)."""

    def far(t):
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    def near(t):
        return ((a + 2) * t - (a + 3)) * t * t + 1

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]
