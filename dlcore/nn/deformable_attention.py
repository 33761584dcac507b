"""The layer of multi-scale deformable attention: each query says where it looks, in offsets from a reference.

Zhu et al. 2020, arXiv:2010.04159.

    y[q] = W_o concat_h sum_{l, k} A[q, h, l, k] (W_v x)_l(p_q + d[q, h, l, k])[h],   A = softmax_{l, k}(W_a z_q)
    d    = W_d z_q / (columns_l, rows_l)                      where the reference is a point
    d    = s W_d z_q (w_q, h_q) / K_l                         where it is a box; s = 1/2

At the start W_d = 0, and its bias sends head h by k pixels in direction 2 pi h / H at point k: a star of points.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule
from dlcore.nn.dense import Dense
from dlcore.ops.deformable_attention import deformable_attention
from dlcore.ops.precision import acc_dtype_of

__all__ = ["DeformableAttention", "star_offsets"]


def star_offsets(num_heads: int, counts: Sequence[int]) -> np.ndarray:
    """Compute the offsets that the points have at first.

    Args:
      num_heads: H.
      counts: points of each level, K_l.

    Returns:
      [H, sum(counts), 2] float32 of (x, y): point k of a level lies k steps in the direction of the head, whose
      longer component is 1.
    """
    check_whole_number("num_heads", num_heads, 1)
    if np.ndim(counts) != 1 or not len(counts) or not all(is_whole_number(count) and count >= 1 for count in counts):
        raise ValueError(f"counts={counts}: no numbers of points; allowed: whole numbers of at least 1, one a level")
    angle = 2 * np.pi * np.arange(num_heads) / num_heads
    direction = np.stack([np.cos(angle), np.sin(angle)], -1)
    direction /= np.abs(direction).max(-1, keepdims=True)
    steps = np.concatenate([np.arange(1, count + 1) for count in counts])
    return (direction[:, None] * steps[:, None]).astype(np.float32)


class DeformableAttention(CheckedModule):
    """Deformable attention of queries to a pyramid of maps: [B, Q, D] -> [B, Q, D].

    Submodules `sampling_offsets` and `attention_weights`, and with projections `value_proj` and `output_proj`.

    Args:
      num_heads: H, a divisor of D.
      num_points: points of each level; a number is for all levels.
      offset_scale: s, the share of a box's side that an offset of K_l reaches.
      method: how points are read, see `dlcore.ops.deformable_attention`.
      projections: layers before and after the attention; without them (D-FINE) it reads the maps as they are.
    """

    num_heads: Annotated[int, Range(1)]
    num_points: int | tuple[int, ...] = 4
    offset_scale: float = 0.5
    method: Literal["bilinear", "discrete"] = "bilinear"
    projections: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        query: jax.Array,
        reference: jax.Array,
        value: jax.Array,
        shapes: Sequence[tuple[int, int]],
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Attend.

        Args:
          query: [B, Q, D].
          reference: [B, Q, 1 or levels, 2 or 4] of (x, y) or (x, y, w, h), in shares of the map's sides.
          value: [B, N, D], the maps row by row, one level after the other.
          shapes: (rows, columns) of each level.
          mask: [B, N] bool, False where the maps are padding, which then counts as zero; None for no padding.

        Returns:
          [B, Q, D].
        """
        features, levels, heads = query.shape[-1], len(shapes), self.num_heads
        if features % heads:
            raise ValueError(f"num_heads={heads}: not a divisor; allowed: divisors of the {features} features")
        if reference.shape[-1] not in (2, 4) or reference.shape[-2] not in (1, levels):
            raise ValueError(f"{reference.shape=}: does not fit; allowed: [B, Q, 1 or {levels}, 2 or 4]")
        counts = self.num_points if isinstance(self.num_points, Sequence) else (self.num_points,) * levels
        if len(counts) != levels:
            raise ValueError(f"num_points={self.num_points}: for {levels} levels; allowed: one number for each")
        total = sum(counts)

        def dense(width: int, name: str, kernel: Any = nn.initializers.xavier_uniform(), bias: Any = None) -> Dense:
            bias = nn.initializers.zeros if bias is None else bias
            return Dense(width, dtype=self.dtype, kernel_init=kernel, bias_init=bias, name=name)

        zeros = nn.initializers.zeros
        star = star_offsets(heads, counts).reshape(-1)
        if mask is not None:  # padding, which may be NaN, reaches neither the values nor the gradient of their weights
            value = jnp.where(mask[..., None], value, 0)
        if self.projections:
            value = dense(features, "value_proj")(value)
            value = value if mask is None else jnp.where(mask[..., None], value, 0)
        value = value.reshape(*value.shape[:2], heads, -1)  # [B, N, H, D / H]
        offsets = dense(heads * total * 2, "sampling_offsets", zeros, lambda *_: jnp.asarray(star))(query)
        weights = dense(heads * total, "attention_weights", zeros)(query)
        acc_dtype = acc_dtype_of(offsets.dtype)
        offsets = offsets.astype(acc_dtype).reshape(*query.shape[:2], heads, total, 2)
        weights = jax.nn.softmax(weights.astype(acc_dtype).reshape(*query.shape[:2], heads, total))
        # The reference of each point, by its level: [B, Q, 1, P, 2 or 4].
        level = np.repeat(np.arange(levels), counts)
        reference = reference.astype(acc_dtype)
        reference = reference[:, :, None] if reference.shape[2] == 1 else reference[:, :, None, level]
        if reference.shape[-1] == 2:
            sides = np.array([(columns, rows) for rows, columns in shapes], np.float32)[level]
            locations = reference + offsets / sides
        else:
            fraction = self.offset_scale / np.repeat(counts, counts)[:, None].astype(np.float32)
            locations = reference[..., :2] + offsets * fraction * reference[..., 2:]
        y = deformable_attention(value, shapes, locations, weights, counts, self.method)
        y = y.reshape(*query.shape[:2], -1)  # [B, Q, D]
        return dense(features, "output_proj")(y) if self.projections else y
