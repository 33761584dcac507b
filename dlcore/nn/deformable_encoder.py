"""The encoder of deformable attention: each location of a pyramid attends to points around itself on all levels.

Zhu et al. 2020, arXiv:2010.04159.

    x = LN(x + deformable attention(x)),   x = LN(x + MLP(x))
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.deformable_attention import DeformableAttention
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.transformer import FeedForward
from dlcore.ops.im2col import pair_of

__all__ = ["DeformableEncoderLayer", "Shapes", "flatten_maps", "grid_centers"]

Shapes = Sequence[tuple[int, int]]
"""(Rows, columns) of each level."""


def flatten_maps(maps: Sequence[jax.Array]) -> tuple[jax.Array, tuple[tuple[int, int], ...]]:
    """Join maps row by row, one level after the other.

    Args:
      maps: [B, h, w, D] of each level.

    Returns:
      ([B, N, D], (h, w) of each level).
    """
    if not maps:
        raise ValueError("maps=[]: no level; allowed: at least one")
    for x in maps:
        if x.ndim != 4 or (x.shape[0], x.shape[3]) != (maps[0].shape[0], maps[0].shape[-1]):
            raise ValueError(f"maps: shape {x.shape} beside {maps[0].shape}; allowed: [B, h, w, D] of one B and D")
    shapes = tuple((x.shape[1], x.shape[2]) for x in maps)
    return jnp.concatenate([x.reshape(x.shape[0], -1, x.shape[-1]) for x in maps], 1), shapes


def grid_centers(shapes: Shapes) -> np.ndarray:
    """Compute the centers of all locations of a pyramid.

    Args:
      shapes: (rows, columns) of each level.

    Returns:
      [N, 2] float32 of (x, y) in fractions of the map's sides, row by row, one level after the other.
    """
    if not shapes:
        raise ValueError("shapes=(): no level; allowed: at least one")
    shapes = [pair_of("shapes", shape) for shape in shapes]
    grids = [np.mgrid[:rows, :columns][::-1].reshape(2, -1).T / (columns, rows) for rows, columns in shapes]
    halves = [np.full((rows * columns, 2), 0.5) / (columns, rows) for rows, columns in shapes]
    return (np.concatenate(grids) + np.concatenate(halves)).astype(np.float32)


class DeformableEncoderLayer(CheckedModule):
    """Layer of a deformable encoder on the locations of a pyramid: [B, N, D] -> [B, N, D].

    Args:
      hidden_features: units of the perceptron.
      num_points: points of each head on each level.
      dropout_rate: dropout rate in training.
    """

    num_heads: Count
    hidden_features: Count
    num_points: Count = 4
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        position: jax.Array,
        reference: jax.Array,
        shapes: Shapes,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, N, D].
          position: added to what asks, not to the values; broadcasts to x.
          reference: [B or 1, N, 1 or levels, 2].
          shapes: (rows, columns) of each level.
          mask: [B, N] bool, False for padding; None for none.

        Returns:
          [B, N, D].
        """
        attention = DeformableAttention(self.num_heads, self.num_points, dtype=self.dtype, name="self_attn")
        y = attention(x + position, reference, x, shapes, mask)
        y = nn.Dropout(self.dropout_rate)(y, deterministic=not train)
        x = LayerNorm(dtype=self.dtype, name="self_attn_layer_norm")(x + y)
        mlp = FeedForward(self.hidden_features, dropout_rate=self.dropout_rate, dtype=self.dtype, name="mlp")
        return LayerNorm(dtype=self.dtype, name="final_layer_norm")(x + mlp(x, train))
