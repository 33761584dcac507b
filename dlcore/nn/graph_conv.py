"""Graph convolution: a node's new features from its own and its neighbours'.

Scarselli et al. 2009; in this form Wang et al. 2018 (Pixel2Mesh), arXiv:1804.01654, equation 1.

    f'_i = b + W_0 f_i + sum over neighbours j of i of W_1 f_j
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

__all__ = ["GraphConv", "neighbor_sum"]


def neighbor_sum(
    f: jax.Array,
    adjacency: jax.Array | None = None,
    edges: jax.Array | None = None,
    edge_mask: jax.Array | None = None,
) -> jax.Array:
    """Sum the features of every node's neighbours: [N, D] -> [N, D].

    Give adjacency: [N, N], row i holding the weights of node i's neighbours; or edges: [E, 2] of (i, j), j a neighbour
    of i (both directions for an undirected graph), of which edge_mask: [E] leaves some out.
    Raises: ValueError for other shapes, or where both or neither are given.
    """
    if f.ndim != 2:
        raise ValueError(f"f has shape {f.shape}; it must be [N, D], one graph (vmap over several)")
    if (adjacency is None) == (edges is None):
        raise ValueError("adjacency and edges: exactly one of them must be given")
    if adjacency is not None:
        if adjacency.shape != (len(f), len(f)):
            raise ValueError(f"adjacency has shape {adjacency.shape}; it must be {(len(f), len(f))}")
        return adjacency.astype(f.dtype) @ f
    if edges.ndim != 2 or edges.shape[1] != 2 or not jnp.issubdtype(edges.dtype, jnp.integer):
        raise ValueError(f"edges has shape {edges.shape} and dtype {edges.dtype}; it must be [E, 2] of integers")
    sent = f[edges[:, 1]]
    if edge_mask is not None:
        if edge_mask.shape != edges.shape[:1]:
            raise ValueError(f"edge_mask has shape {edge_mask.shape}; it must be {edges.shape[:1]}")
        sent = jnp.where(edge_mask[:, None] > 0, sent, 0)
    return jax.ops.segment_sum(sent, edges[:, 0], len(f))


class GraphConv(nn.Module):
    """[N, D] -> [N, features]; the graph as in `neighbor_sum`.

    Parameters `self`: W_0 with the bias, and `neighbors`: W_1, both dense.
    """

    features: int
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        f: jax.Array,
        adjacency: jax.Array | None = None,
        edges: jax.Array | None = None,
        edge_mask: jax.Array | None = None,
    ) -> jax.Array:
        """Mix; W_1 acts on the sum, which is the sum of its products."""
        gathered = neighbor_sum(f, adjacency, edges, edge_mask)
        own = nn.Dense(self.features, use_bias=self.use_bias, dtype=self.dtype, name="self")(f)
        return own + nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="neighbors")(gathered)
