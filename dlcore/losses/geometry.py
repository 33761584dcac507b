"""Losses of point sets and triangle meshes.

    Chamfer             1/N sum_p min_q |p - q|² + 1/M sum_q min_p |p - q|²        Fan et al. 2017, arXiv:1612.00603
    normals             the same pairs, 1 - |n_p·n_q| each                        Gkioxari et al. 2019, arXiv:1906.02739
    edge length         mean over edges of |v_i - v_j|²                            Wang et al. 2018, arXiv:1804.01654
    Laplacian           mean over vertices of |mean of the neighbors - v_i|        (uniform weights)
    normal consistency  mean over pairs of faces with a common edge of 1 - cos of the angle between their normals

Others root the Chamfer distances (`squared=False`) or add sums: numbers compare only where these agree. A mesh loss
takes vertices [..., V, 3] of meshes with the same faces, a mask where there is padding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.l2_normalize import cosine_distance
from dlcore.ops.mesh import mesh_laplacian
from dlcore.ops.point_sets import check_points, nearest_neighbors
from dlcore.ops.precision import to_acc_dtype, to_same_origin

__all__ = ["chamfer_loss", "chamfer_normal_loss", "edge_length_loss", "laplacian_loss", "normal_consistency_loss"]


def chamfer_loss(
    p: jax.Array, q: jax.Array, p_mask: jax.Array | None = None, q_mask: jax.Array | None = None, squared: bool = True
) -> jax.Array:
    """Chamfer distance of two point sets: the mean over p of the distance to the nearest of q, plus the reverse.

    Args:
      p: [..., N, D].
      q: [..., M, D].
      p_mask: [..., N], 0 where a point is padding; None means that all count.
      q_mask: [..., M], 0 where a point is padding; None means that all count.
      squared: average squared distances, otherwise distances.

    Returns:
      [...], one loss a pair of sets; 0 where a set is empty.
    """
    p, q = _as_array("p", p), _as_array("q", q)
    check_shapes(
        p=(p, "... N D"), q=(q, "... M D"), p_mask=(p_mask, "mask ... N or None"), q_mask=(q_mask, "mask ... M or None")
    )
    check_points("p", p, p_mask)
    check_points("q", q, q_mask)
    p, q = to_same_origin(p, q)
    p, q = _visible(p, p_mask), _visible(q, q_mask)
    if 0 in (p.shape[-2], q.shape[-2]):
        return jnp.zeros(p.shape[:-2], p.dtype)
    total = 0
    # Each point to its nearest neighbor in the other set, both ways.
    for source, target, own_mask, other_mask in ((p, q, p_mask, q_mask), (q, p, q_mask, p_mask)):
        error = source - _nearest(source, target, other_mask)  # [..., N, D]
        squares = jnp.square(error).sum(-1)  # [..., N]
        total += _mean(squares if squared else _root(squares), own_mask, other_mask)
    return total


def chamfer_normal_loss(
    p: jax.Array,
    q: jax.Array,
    p_normals: jax.Array,
    q_normals: jax.Array,
    p_mask: jax.Array | None = None,
    q_mask: jax.Array | None = None,
) -> jax.Array:
    """Disagreement of the normals of nearest points, whatever side they point to: 1 - |n_p·n_q|, both ways.

    Args:
      p: [..., N, 3].
      q: [..., M, 3].
      p_normals: [..., N, 3], of length 1.
      q_normals: [..., M, 3], of length 1.
      p_mask: [..., N], 0 where a point is padding; None means that all count.
      q_mask: [..., M], 0 where a point is padding; None means that all count.

    Returns:
      [...] in [0, 2], one loss a pair of sets; 0 where a set is empty.
    """
    p, q = _as_array("p", p), _as_array("q", q)
    check_shapes(
        p=(p, "... N 3"), q=(q, "... M 3"), p_mask=(p_mask, "mask ... N or None"), q_mask=(q_mask, "mask ... M or None")
    )
    check_shapes(p=(p, "... N 3"), p_normals=(p_normals, "... N 3"))
    check_shapes(q=(q, "... M 3"), q_normals=(q_normals, "... M 3"))
    for name, values, mask in (
        ("p", p, p_mask),
        ("q", q, q_mask),
        ("p_normals", p_normals, p_mask),
        ("q_normals", q_normals, q_mask),
    ):
        check_points(name, values, mask)
    p, q = to_same_origin(p, q)
    p, p_normals, q, q_normals = (
        _visible(x, mask) for x, mask in ((p, p_mask), (p_normals, p_mask), (q, q_mask), (q_normals, q_mask))
    )
    total = 0
    # The normals of each point and of its nearest neighbor, both ways.
    for source, target, n, m, own_mask, other_mask in (
        (p, q, p_normals, q_normals, p_mask, q_mask),
        (q, p, q_normals, p_normals, q_mask, p_mask),
    ):
        index = nearest_neighbors(source, target, other_mask)  # [..., N]
        cosine = (to_acc_dtype(n) * jnp.take_along_axis(m, index[..., None], -2)).sum(-1)  # [..., N]
        total += _mean(1 - jnp.abs(cosine), own_mask, other_mask)
    return total


def _as_array(name: str, points: Any) -> Any:
    """Stack a list of sets of one length."""
    if isinstance(points, list | tuple):
        check_points(name, points)
        return np.asarray(points)
    return points


def _visible(points: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Zeros in place of padding, which may hold anything: 0 times its gradient would be NaN."""
    return points if mask is None else jnp.where(mask[..., None] > 0, points, 0)


def edge_length_loss(vertices: jax.Array, edges: jax.Array, edge_mask: jax.Array | None = None) -> jax.Array:
    """Mean squared length of the edges, which keeps vertices from flying off.

    Args:
      vertices: [..., V, 3].
      edges: [E, 2] int, each edge once, as `dlcore.ops.mesh_edges` gives.
      edge_mask: [E], 0 where an edge is padding; None means that all count.

    Returns:
      [...], one loss a mesh.
    """
    check_shapes(vertices=(vertices, "... V 3"), edges=(edges, "int E 2"), edge_mask=(edge_mask, "mask E or None"))
    check_indices("edges", edges, vertices.shape[-2], "vertices")
    endpoints = to_same_origin(vertices)[0][..., edges, :]  # [..., E, 2, 3]
    return _average(jnp.square(endpoints[..., 0, :] - endpoints[..., 1, :]).sum(-1), edge_mask)


def laplacian_loss(vertices: jax.Array, edges: jax.Array, edge_mask: jax.Array | None = None) -> jax.Array:
    """Mean distance of vertices from the mean of their neighbors, which keeps a surface smooth.

    Args:
      vertices: [..., V, 3].
      edges: [E, 2] int, each edge once.
      edge_mask: [E], 0 where an edge is padding; None means that all count.

    Returns:
      [...], one loss a mesh.
    """
    check_shapes(vertices=(vertices, "... V 3"), edges=(edges, "int E 2"), edge_mask=(edge_mask, "mask E or None"))
    flat = to_same_origin(vertices)[0].reshape(-1, *vertices.shape[-2:])
    # The mean of the neighbors minus the vertex.
    laplacian = jax.vmap(lambda v: mesh_laplacian(v, edges, edge_mask))(flat).reshape(vertices.shape)
    return _root(jnp.square(laplacian).sum(-1)).mean(-1)


def normal_consistency_loss(
    vertices: jax.Array, faces: jax.Array, pairs: jax.Array, pair_mask: jax.Array | None = None
) -> jax.Array:
    """1 - cosine of the angle between the normals of neighboring faces: 0 where flat, 2 where folded back.

    Args:
      vertices: [..., V, 3].
      faces: [F, 3] int.
      pairs: [P, 2] int, rows of `faces` with a common edge, as `dlcore.ops.adjacent_faces` gives.
      pair_mask: [P], 0 where a pair is padding; None means that all count.

    Returns:
      [...] in [0, 2], one loss a mesh.
    """
    check_shapes(vertices=(vertices, "... V 3"))
    check_shapes(faces=(faces, "int F 3"), pairs=(pairs, "int P 2"), pair_mask=(pair_mask, "mask P or None"))
    check_indices("faces", faces, vertices.shape[-2], "vertices")
    check_indices("pairs", pairs, len(faces), "faces")
    corners = to_same_origin(vertices)[0][..., faces, :]  # [..., F, 3, 3]
    a, b, c = (corners[..., k, :] for k in range(3))
    normals = jnp.cross(b - a, c - a)  # [..., F, 3]
    # Normals of the two faces at each shared edge.
    normals = normals[..., pairs, :]  # [..., P, 2, 3]
    return _average(cosine_distance(normals[..., 0, :], normals[..., 1, :]), pair_mask)


def _nearest(source: jax.Array, target: jax.Array, other_mask: jax.Array | None) -> jax.Array:
    """[..., N, D], for each own point the nearest of the others."""
    return jnp.take_along_axis(target, nearest_neighbors(source, target, other_mask)[..., None], -2)


def _root(squares: jax.Array) -> jax.Array:
    """Square root whose gradient is 0 at 0."""
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def _average(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Mean over the last axis of what the mask [K] keeps."""
    if mask is None:
        return values.mean(-1) if values.shape[-1] else values.sum(-1)
    return jnp.where(mask > 0, values, 0).sum(-1) / jnp.maximum((mask > 0).sum(-1), 1)


def _mean(values: jax.Array, mask: jax.Array | None, other_mask: jax.Array | None) -> jax.Array:
    """Mean over the last axis; 0 where the other set has no points."""
    mean = _average(values, mask)
    return mean if other_mask is None else jnp.where((other_mask > 0).any(-1), mean, 0)
