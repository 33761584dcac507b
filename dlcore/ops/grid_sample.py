"""Sampling an image at points that a grid names: the differentiable half of a spatial transformer.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu, "Spatial transformer networks" (2015), arXiv:1506.02025, equations 1 to 5.

    grid[p]  = theta (x_p, y_p, 1)                    x, y in [-1, 1] over the output
    y[p, c]  = sum over pixels q of x[q, c] max(0, 1 - |u_p - u_q|) max(0, 1 - |v_p - v_q|)

-1 and 1 are the outer edges of the border pixels, or, with align_corners, their centres. Equal to torch's `affine_grid`
and `grid_sample`, gradients included.
"""

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["affine_grid", "bilinear_sample", "grid_sample"]


def affine_grid(theta: jax.Array, size: tuple[int, int], align_corners: bool = False) -> jax.Array:
    """Where each pixel of an output of size (H, W) looks: theta [..., 2, 3] -> [..., H, W, 2], as (x, y) in [-1, 1].

    Raises: ValueError for other shapes or a size below 1.
    """
    if theta.shape[-2:] != (2, 3):
        raise ValueError(f"theta has shape {theta.shape}; it must be [..., 2, 3]")
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"size is {size}; both numbers must be at least 1")
    dtype = jnp.promote_types(theta.dtype, jnp.float32)

    def axis(n: int) -> jax.Array:
        if align_corners:
            return jnp.linspace(-1, 1, n, dtype=dtype) if n > 1 else jnp.zeros(1, dtype)
        return (2 * jnp.arange(n, dtype=dtype) + 1) / n - 1

    x, y = jnp.meshgrid(axis(width), axis(height))
    points = jnp.stack([x, y, jnp.ones_like(x)], -1)
    grid = jnp.einsum("...ij,hwj->...hwi", theta.astype(dtype), points, precision=lax.Precision.HIGHEST)
    return grid.astype(theta.dtype)


def grid_sample(
    x: jax.Array,
    grid: jax.Array,
    method: str = "bilinear",
    padding: str = "zeros",
    align_corners: bool = False,
) -> jax.Array:
    """Sample x: [N, H, W, C] at grid: [N, H', W', 2] of (x, y) in [-1, 1] -> [N, H', W', C].

    method: bilinear, nearest (no gradient by the grid) or bicubic (a = -0.75). padding: what lies outside is zeros, the
    border's pixels, or the image's reflection (at the pixel edges, or, with align_corners, at their centres).

    Raises: ValueError for another method, padding or shape, or integers that are not sampled by nearest.
    """
    if method not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"method is {method!r}; it must be bilinear, nearest or bicubic")
    if padding not in ("zeros", "border", "reflection"):
        raise ValueError(f"padding is {padding!r}; it must be zeros, border or reflection")
    if x.ndim != 4 or grid.ndim != 4 or grid.shape[-1] != 2 or grid.shape[0] != x.shape[0] or 0 in x.shape[1:3]:
        raise ValueError(f"x has shape {x.shape} and grid {grid.shape}; they must be [N, H, W, C] and [N, H', W', 2]")
    if method != "nearest" and not jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(f"x has dtype {x.dtype}; {method} needs a floating dtype, nearest takes any")
    wide = jnp.result_type(jnp.float32, grid)
    height, width = x.shape[1:3]
    u, v = (
        ((grid[..., i].astype(wide) + 1) * n - 1) / 2
        if not align_corners
        else (grid[..., i].astype(wide) + 1) * (n - 1) / 2
        for i, n in ((0, width), (1, height))
    )

    def inside(c: jax.Array, n: int) -> jax.Array:
        if padding == "reflection":
            c = _reflect(c, n, align_corners)
        return c if padding == "zeros" else _clip(c, n)

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
    return total.astype(x.dtype)


def bilinear_sample(x: jax.Array, y: jax.Array, u: jax.Array) -> jax.Array:
    """Values of x: [N, H, W, C] at rows y: [N, ...] and columns u: [N, ...] -> [N, ..., C]; zeros lie outside.

    Coordinates count pixel centres from 0: row .75 and column .25 of [[0, 1], [2, 3]] is 0 + .25 + .75 * 2 = 1.75.
    Raises: ValueError where the shapes do not fit together.
    """
    if x.ndim != 4 or y.shape != u.shape or y.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"x has shape {x.shape}, y {y.shape} and u {u.shape}; they must be [N, H, W, C] and twice [N, ...]"
        )
    wide = jnp.promote_types(jnp.result_type(jnp.float32, y), x.dtype)
    y, u = y.astype(wide), u.astype(wide)
    top, left = lax.stop_gradient(jnp.floor(y)), lax.stop_gradient(jnp.floor(u))
    down, across = y - top, u - left
    sample = jax.vmap(_pixels)
    total = 0
    for row, column, weight in (
        (top, left, (1 - down) * (1 - across)),
        (top, left + 1, (1 - down) * across),
        (top + 1, left, down * (1 - across)),
        (top + 1, left + 1, down * across),
    ):
        total += weight[..., None] * sample(x, row, column)
    return total.astype(x.dtype)


def _pixels(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """image: [H, W, C] at whole rows and columns [...], given as floats -> [..., C]; zeros lie outside."""
    height, width, channels = image.shape
    seen = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    i, j = (jnp.where(seen, c, 0).astype(jnp.int32) for c in (row, column))
    found = jnp.take(image.reshape(-1, channels), i * width + j, axis=0)
    return jnp.where(seen[..., None], found, 0)


def _clip(c: jax.Array, n: int) -> jax.Array:
    """Onto [0, n - 1]; no gradient from its ends outwards, as in torch."""
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
    """Of the pixels at -1, 0, 1 and 2, for a point at t in [0, 1)."""

    def far(t):
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    def near(t):
        return ((a + 2) * t - (a + 3)) * t * t + 1

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]
