"""Decomposed relative positions: a bias on the attention between two places of a map, one table an axis.

    softmax(Q K^T / sqrt(D) + B) V,   B(i, j) = q_i . R[y_i - y_j] + q_i . S[x_i - x_j]

R: [2 h - 1, D] for the rows and S: [2 w - 1, D] for the columns of a map of h x w. The bias depends on the query, which
is not scaled here, and all heads share the tables. A map of another size resizes them linearly, as torch does.

Li et al., "MViTv2: improved multiscale vision transformers for classification and detection" (2021), arXiv:2112.01526;
ViTDet (arXiv:2203.16527) and the image encoder of SAM (arXiv:2304.02643) use it without pooled keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn._checked import CheckedModule
from dlcore.nn.attention import Initializer
from dlcore.ops.im2col import pair_of
from dlcore.ops.resize import resize

__all__ = ["DecomposedRelativePositions"]


class DecomposedRelativePositions(CheckedModule):
    """Relative position bias of a map, the sum of one for rows and one for columns.

    Parameters `rows: [2 h - 1, D]` and `columns: [2 w - 1, D]`; entry 0 is for the farthest key below or at the right
    of the query.

    Args:
      grid: (h, w), rows and columns of the map.
      embedding_init: initializer of the tables.
    """

    grid: tuple[int, int]
    embedding_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, query: jax.Array, grid: tuple[int, int] | None = None) -> jax.Array:
        """Compute the bias of every pair of places.

        Args:
          query: [..., h' w', H, D], of H heads, places in row order.
          grid: (h', w') of the queries and keys, to which the tables are resized; None means the field's.

        Returns:
          [..., H, h' w', h' w'], queries before keys, to be added to the scaled scores.
        """
        rows, columns = pair_of("grid", self.grid)
        height, width = grid = self.grid if grid is None else pair_of("grid", grid)
        *batch, length, num_heads, features = query.shape
        if length != height * width:
            raise ValueError(f"query.shape={query.shape}: does not fit grid={grid}; allowed: {height} x {width} places")

        def vectors(name: str, side: int, new_side: int) -> jax.Array:
            """[query's row, key's row, D], or columns alike."""
            table = self.param(name, self.embedding_init, (2 * side - 1, features))
            if new_side != side:
                table = resize(table[:, None], (2 * new_side - 1, 1), "bilinear")[:, 0]
            index = np.arange(new_side)
            return table[index[:, None] - index + new_side - 1].astype(query.dtype)

        query = query.reshape(*batch, height, width, num_heads, features)
        down = jnp.einsum("...yxhd,ykd->...hyxk", query, vectors("rows", rows, height))
        right = jnp.einsum("...yxhd,xkd->...hyxk", query, vectors("columns", columns, width))
        bias = down[..., :, None] + right[..., None, :]
        return bias.reshape(*batch, num_heads, length, length)
