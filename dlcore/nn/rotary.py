"""Rotary positions: queries and keys are turned by an angle that grows with their position, so scores see offsets only.

    (a_i, b_i) -> (a_i cos t - b_i sin t,  b_i cos t + a_i sin t),    t = p / period^(2 i / D),  i < D / 2
    of a grid:  half of the pairs turn by the row, the others by the column,    t = p / period^(4 i / D),  i < D / 4

Su et al. 2021, "RoFormer", arXiv:2104.09864; Heo et al. 2024, arXiv:2403.13298 (grids). The pairs are channels i and
i + D / 2, as in Llama's published weights and DINOv3's; the paper, EVA-02 and RoPE-ViT pair neighbors.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = ["axial_angles", "rotary", "rotate_pairs"]

Pairs = Literal["halves", "neighbors"]


def rotate_pairs(x: jax.Array, angles: jax.Array, pairs: Pairs = "halves") -> jax.Array:
    """Turn each pair of channels by its angle, computed in at least float32.

    Args:
      x: [..., D], D even.
      angles: radians; broadcasts to [..., D / 2]. Or [..., D]: an angle for each channel, by which a pair turns only
        where its two are the same; V-JEPA 2's differ.
      pairs: halves, channels i and i + D / 2 are a pair; neighbors, channels 2 i and 2 i + 1 are.

    Returns:
      The shape and dtype of x.
    """
    if x.shape[-1] % 2:
        raise ValueError(f"x.shape={x.shape}: {x.shape[-1]} channels are no pairs; allowed: an even number")
    check_choice("pairs", pairs, ("halves", "neighbors"))
    lead = zip(reversed(np.shape(angles)[:-1]), reversed(x.shape[:-1]), strict=False)  # x may have more leading axes
    sizes = (1, x.shape[-1] // 2, x.shape[-1])
    if not 1 <= np.ndim(angles) <= x.ndim or np.shape(angles)[-1] not in sizes or any(a not in (1, b) for a, b in lead):
        raise ValueError(
            f"angles.shape={np.shape(angles)}: does not fit {x.shape}; allowed: [..., {sizes[1]}] or [..., {sizes[2]}]"
        )
    angles, dtype = to_acc_dtype(angles), result_dtype(x)

    def members(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """First and second channel of each pair."""
        if values.shape[-1] != x.shape[-1]:
            return values, values
        if pairs == "halves":
            first, second = jnp.split(values, 2, axis=-1)
            return first, second
        return values[..., ::2], values[..., 1::2]

    a, b = members(to_acc_dtype(x))
    (cos_a, cos_b), (sin_a, sin_b) = members(jnp.cos(angles)), members(jnp.sin(angles))
    rotated = a * cos_a - b * sin_a, b * cos_b + a * sin_b
    if pairs == "halves":
        return jnp.concatenate(rotated, axis=-1).astype(dtype)
    return jnp.stack(rotated, -1).reshape(x.shape).astype(dtype)


def axial_angles(
    rows: jax.Array, columns: jax.Array, features: int, period: float = 10_000.0, columns_first: bool = False
) -> jax.Array:
    """Angles of the cells of a grid: the first half of the pairs turn by the row, the others by the column.

    Args:
      rows: [h], coordinate of each row.
      columns: [w], coordinate of each column.
      features: D, channels of a head, a multiple of 4.
      period: the wavelength of the last pair of each half approaches 2 pi times this.
      columns_first: the first half of the pairs turn by the column.

    Returns:
      [h w, 1, D / 2], row by row, for all heads.
    """
    check_shapes(features=(features, "int >= 4"), rows=(rows, "h"), columns=(columns, "w"))
    if features % 4:
        raise ValueError(f"features={features}: not pairs for two axes; allowed: multiples of 4")
    check_shapes(period=(period, "> 0"))
    frequencies = period ** (-np.arange(features // 4) / (features // 4))
    axes = jnp.meshgrid(jnp.asarray(rows), jnp.asarray(columns), indexing="ij")
    axes = axes[::-1] if columns_first else axes
    acc_dtype = acc_dtype_of(axes[0].dtype)
    turns = [axis.astype(acc_dtype)[..., None] * jnp.asarray(frequencies, acc_dtype) for axis in axes]
    return jnp.concatenate(turns, -1).reshape(-1, 1, features // 2)


def rotary(x: jax.Array, positions: jax.Array, period: float = 10_000.0, pairs: Pairs = "halves") -> jax.Array:
    """Turn the pairs of channels of queries or keys by their position's angles, computed in at least float32.

    Args:
      x: [..., T, H, D], D even.
      positions: [..., T] int.
      period: the wavelength of the last pair approaches 2 pi times this.
      pairs: channels that turn together, see `rotate_pairs`.

    Returns:
      The shape and dtype of x.
    """
    check_shapes(x=(x, "... T H D"))
    features = x.shape[-1]
    if np.shape(positions)[-1:] != x.shape[-3:-2]:
        raise ValueError(f"positions.shape={np.shape(positions)}: does not fit; allowed: [..., {x.shape[-3]}]")
    if features % 2:
        raise ValueError(f"x.shape={x.shape}: {features} channels are no pairs; allowed: an even number")
    check_shapes(period=(period, "> 0"))
    acc_dtype = acc_dtype_of(x.dtype)
    frequencies = jnp.asarray(period ** (-np.arange(0, features, 2) / features), acc_dtype)
    return rotate_pairs(x, positions[..., None, None].astype(acc_dtype) * frequencies, pairs)
