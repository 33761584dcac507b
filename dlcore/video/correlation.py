"""All-pairs correlation of two feature maps at several scales, its lookup around moving points, and convex upsampling.

Teed & Deng, "RAFT: recurrent all-pairs field transforms for optical flow" (2020), arXiv:2003.12039, section 3.

    C_l[p, q]        = <f(p), pool_2^l(g)(q)> / sqrt(D)         f, g: maps of two frames; D channels; l = 0, 1, ...
    lookup(p)        = C_l[p, x(p) / 2^l + o]  for all offsets |o|_inf <= r and all l, bilinear, 0 outside of the map
    upsample(u)(s p + t) = sum over the 3 x 3 neighbors k of p of  w_k(p, t) s u(k),   w = softmax over k

Pooling g equals pooling the volume over q, because the product is linear in g; it costs less. The bilinear weights are
max(0, 1 - |x + o - column|) times the same of the row, so that a lookup is two small matrix products a point: gradients
need no scatter, which is slow on a CPU. All three equal torchvision's.
"""

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.choices import check_whole_number
from dlcore.ops import avg_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = ["convex_upsample", "correlation_pyramid", "lookup_correlation"]


def correlation_pyramid(first: jax.Array, second: jax.Array, num_levels: int = 4) -> tuple[jax.Array, ...]:
    """Correlate every location of one map with every location of another, which is halved from level to level.

    Args:
      first: [B, h, w, D].
      second: [B, h, w, D].
      num_levels: number of levels L, at least 1.

    Returns:
      L volumes [B, h, w, h / 2^l, w / 2^l], sizes rounded down, at least float32.
    """
    check_shapes(first=(first, "B h w D"), second=(second, "B h w D"))
    check_whole_number("num_levels", num_levels)
    if num_levels < 1 or min(first.shape[1:3]) < 2 ** (num_levels - 1):
        raise ValueError(
            f"num_levels={num_levels}: does not fit maps of {first.shape[1]} x {first.shape[2]}; allowed: at least 1, "
            "and sides of at least 2^(num_levels - 1)"
        )
    dtype = acc_dtype_of(first.dtype)
    scale, levels = first.shape[-1] ** -0.5, []
    for level in range(num_levels):
        second = avg_pool(second, (2, 2), (2, 2)) if level else second
        levels.append(scale * jnp.einsum("bhwd,brcd->bhwrc", first, second, preferred_element_type=dtype))
    return tuple(levels)


def lookup_correlation(pyramid: tuple[jax.Array, ...], points: jax.Array, radius: int) -> jax.Array:
    """Read the correlations around a point of the second map, for each location of the first.

    Args:
      pyramid: of `correlation_pyramid`.
      points: [B, h, w, 2], (column, row) in pixels of the first level.
      radius: r, largest offset along an axis, in pixels of each level.

    Returns:
      [B, h, w, L (2r + 1)^2]: level by level, by offset in columns and then in rows.
    """
    if not pyramid:
        raise ValueError("pyramid: there is no volume; allowed: those of `correlation_pyramid`")
    check_shapes(
        points=(points, "B h w 2"), **{f"pyramid[{i}]": (level, f"B h w r{i} c{i}") for i, level in enumerate(pyramid)}
    )
    check_shapes(radius=(radius, "int >= 0"))
    points = to_acc_dtype(points)
    offsets = jnp.arange(-radius, radius + 1, dtype=points.dtype)
    features = []
    for level, volume in enumerate(pyramid):
        columns, rows = (points[..., axis, None] / 2**level + offsets for axis in (0, 1))  # [B, h, w, 2r + 1]
        across = _bilinear_weights(columns, volume.shape[4])  # [B, h, w, 2r + 1, columns]
        down = _bilinear_weights(rows, volume.shape[3])  # [B, h, w, 2r + 1, rows]
        bands = jnp.einsum("bhwjr,bhwrc->bhwjc", down, volume, precision=lax.Precision.HIGHEST)
        window = jnp.einsum("bhwic,bhwjc->bhwij", across, bands, precision=lax.Precision.HIGHEST)
        features.append(window.reshape(*window.shape[:3], -1))
    return jnp.concatenate(features, -1)


def _bilinear_weights(positions: jax.Array, size: int) -> jax.Array:
    """Weights [..., size] of the pixels of an axis at real-valued positions [...]."""
    return jnp.maximum(0, 1 - jnp.abs(positions[..., None] - jnp.arange(size, dtype=positions.dtype)))


def convex_upsample(flow: jax.Array, logits: jax.Array, factor: int = 8) -> jax.Array:
    """Enlarge a flow field: each fine pixel is a convex combination of the 3 x 3 coarse ones around it.

    Args:
      flow: [B, h, w, 2], in pixels of the coarse grid; zeros surround it.
      logits: [B, h, w, 9 s^2], of the neighbor (row by row), then of the fine pixel (row by row).
      factor: s.

    Returns:
      [B, s h, s w, 2], in fine pixels.
    """
    check_whole_number("factor", factor, 1)
    check_shapes(flow=(flow, "B h w 2"), logits=(logits, f"B h w {9 * factor**2}"))
    dtype, flow, logits = result_dtype(flow), to_acc_dtype(flow), to_acc_dtype(logits)
    batch, height, width, _ = flow.shape
    weights = jax.nn.softmax(logits.reshape(batch, height, width, 9, factor, factor), axis=3)
    padded = jnp.pad(factor * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    neighbors = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    fine = jnp.einsum("bhwkyx,bhwkc->bhywxc", weights, jnp.stack(neighbors, 3), precision=lax.Precision.HIGHEST)
    return fine.reshape(batch, factor * height, factor * width, 2).astype(dtype)
