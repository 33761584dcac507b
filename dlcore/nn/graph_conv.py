"""Graph convolution: new features of a node from its own and its neighbors'.

Scarselli et al. 2009; in this form Wang et al. 2018 (Pixel2Mesh), arXiv:1804.01654, equation 1.

    f'_i = b + W_0 f_i + sum over neighbors j of i of W_1 f_j
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_indices
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["GraphConv", "neighbor_sum"]


def neighbor_sum(
    f: jax.Array, adjacency: jax.Array | None = None, edges: jax.Array | None = None, edge_mask: jax.Array | None = None
) -> jax.Array:
    """Sum the features of every node's neighbors. The graph is a matrix or a list of edges.

    Args:
      f: [N, D], features of the nodes of one graph.
      adjacency: [N, N]; row i holds the weights of node i's neighbors. None where `edges` are given.
      edges: [E, 2] int of (i, j), j a neighbor of i; an undirected graph lists both directions. None where `adjacency`
        is given.
      edge_mask: [E], 0 or False where an edge is padding; None means that all edges count. Used with `edges` only.

    Returns:
      [N, D].
    """
    if f.ndim != 2:
        raise ValueError(f"f.shape={f.shape}: not one graph; allowed: [N, D] (vmap over several graphs)")
    if (adjacency is None) == (edges is None):
        raise ValueError("adjacency and edges: both or neither are given; allowed: exactly one of them")
    if adjacency is not None:
        if adjacency.shape != (f.shape[0], f.shape[0]):
            raise ValueError(f"adjacency.shape={adjacency.shape}: does not fit f; allowed: {(f.shape[0], f.shape[0])}")
        return (to_acc_dtype(adjacency) @ to_acc_dtype(f)).astype(result_dtype(f))
    if edges.ndim != 2 or edges.shape[1] != 2 or not jnp.issubdtype(edges.dtype, jnp.integer):
        raise ValueError(f"edges={edges.dtype}{list(edges.shape)}: not edges; allowed: [E, 2] of integers")
    if isinstance(f.shape[0], int):  # the number of examples may be free
        check_indices("edges", edges, f.shape[0], "nodes")
    messages = to_acc_dtype(f)[edges[:, 1]]
    if edge_mask is not None:
        if edge_mask.shape != edges.shape[:1]:
            raise ValueError(f"edge_mask.shape={edge_mask.shape}: does not fit edges; allowed: {edges.shape[:1]}")
        messages = jnp.where(edge_mask[:, None] > 0, messages, 0)
    return jax.ops.segment_sum(messages, edges[:, 0], f.shape[0]).astype(result_dtype(f))


class GraphConv(CheckedModule):
    """Graph convolution: [N, D] -> [N, features].

    Submodules `self` (W_0 with the bias) and `neighbors` (W_1), both dense.

    Args:
      features: outputs of each node.
      use_bias: add b.
    """

    features: Count
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
        """Combine each node with the sum of its neighbors; W_1 acts on the sum.

        Args:
          f: [N, D], features of the nodes.
          adjacency: [N, N]; row i holds the weights of node i's neighbors. None where `edges` are given.
          edges: [E, 2] int of (i, j), j a neighbor of i. None where `adjacency` is given.
          edge_mask: [E], 0 or False where an edge is padding; None means that all edges count.

        Returns:
          [N, features].
        """
        neighbors = neighbor_sum(f, adjacency, edges, edge_mask)
        from_self = Dense(self.features, use_bias=self.use_bias, dtype=self.dtype, name="self")(f)
        return from_self + Dense(self.features, use_bias=False, dtype=self.dtype, name="neighbors")(neighbors)
