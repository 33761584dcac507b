"""Triangle meshes as two arrays: vertices [V, 3] and faces [F, 3], which hold rows of the vertices.

    area     A = |(b - a) x (c - a)| / 2 of a face (a, b, c); its normal points to where (a, b, c) is counterclockwise
    volume   sum over faces of a·((b - a) x (c - a)) / 6          of a closed mesh whose normals point outward
    Euler    V - E + F, 2 for each closed surface without holes, 0 for a torus
    Laplacian of vertex i = mean of its neighbors - vertex i      "uniform" weights
    sampling a face by its area, then a (1 - √r) + b √r (1 - s) + c √r s with r, s uniform: uniform over the surface

The topology (edges, Euler characteristic, subdivision) is host work on NumPy arrays. What depends on vertices runs
under jit and has gradients; faces that are padding have a mask of 0. Values are checked outside of jit only.
References: Botsch et al. 2010, "Polygon mesh processing"; Osada et al. 2002, "Shape distributions" (sampling).
"""

import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import is_whole_number
from dlcore.ops.checks import check_finite, check_indices, check_shapes
from dlcore.ops.precision import add_center, centered, result_dtype
from dlcore.ops.square_root import safe_sqrt

__all__ = [
    "adjacent_faces",
    "check_mesh",
    "euler_characteristic",
    "face_areas",
    "face_normals",
    "icosphere",
    "is_closed",
    "mesh_edges",
    "mesh_laplacian",
    "mesh_volume",
    "sample_mesh",
    "subdivide_mesh",
    "vertex_normals",
]


def check_mesh(vertices: Any, faces: Any, closed: bool = False) -> None:
    """Check a mesh on the host; traced arrays are checked for their shapes only.

    Args:
      vertices: [V, 3], finite.
      faces: [F, 3] int, rows of `vertices`.
      closed: whether each edge must have two faces that pass it in opposite directions.
    """
    for name, value, kind in (("vertices", vertices, np.floating), ("faces", faces, np.integer)):
        shape, dtype = np.shape(value), np.asarray(value).dtype if not hasattr(value, "dtype") else value.dtype
        if len(shape) != 2 or shape[1] != 3 or not jnp.issubdtype(dtype, kind):
            word = "[F, 3] of integers" if kind is np.integer else "[V, 3] of floats"
            raise ValueError(f"{name}={dtype}{list(shape)}: no {name} of a triangle mesh; allowed: {word}")
    if not isinstance(vertices, jax.core.Tracer):
        check_finite("vertices", vertices)
    if isinstance(faces, jax.core.Tracer):
        return
    check_indices("faces", faces, len(vertices), "vertices")
    if closed:
        _check_closed(np.asarray(faces))


def _check_closed(faces: np.ndarray) -> None:
    directed, counts = np.unique(_half_edges(faces), axis=0, return_counts=True)
    size = int(faces.max(initial=-1)) + 1
    code, reverse = directed @ [size, 1], directed @ [1, size]
    unpaired = (counts > 1) | ~np.isin(reverse, code)
    if unpaired.any():
        edge = tuple(map(int, np.sort(directed[unpaired.argmax()])))
        number = int((np.sort(_half_edges(faces), 1) == edge).all(1).sum())
        what = "one face" if number == 1 else f"{number} faces" if number != 2 else "two faces of opposite orientation"
        raise ValueError(
            f"faces: no closed mesh, edge {edge} has {what}; allowed: closed meshes, whose edges have two faces each"
        )


def _checked_faces(faces: Any) -> np.ndarray:
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f"faces={faces.dtype}{list(faces.shape)}: no faces; allowed: [F, 3] of integers")
    if faces.min(initial=0) < 0:
        raise ValueError(f"faces: index {faces.min()} is negative; allowed: rows of the vertices, from 0")
    return faces


def _half_edges(faces: np.ndarray) -> np.ndarray:
    """[3 F, 2]: the edges of each face in its direction."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def is_closed(faces: np.ndarray) -> bool:
    """Return whether a mesh is watertight: each edge has two faces that pass it in opposite directions.

    Args:
      faces: [F, 3] int.

    Returns:
      True for a closed, consistently oriented mesh.
    """
    try:
        _check_closed(_checked_faces(faces))
    except ValueError:
        return False
    return True


def mesh_edges(faces: np.ndarray) -> np.ndarray:
    """List the edges of a mesh, each once.

    Args:
      faces: [F, 3] int.

    Returns:
      [E, 2] int32, the smaller index first, sorted.
    """
    return np.unique(np.sort(_half_edges(_checked_faces(faces)), 1), axis=0).astype(np.int32)


def adjacent_faces(faces: np.ndarray) -> np.ndarray:
    """List the pairs of faces that share an edge, for losses on the angle between them.

    Args:
      faces: [F, 3] int, of a mesh without an edge of three faces or more.

    Returns:
      [P, 2] int32, rows of `faces`.
    """
    faces = _checked_faces(faces)
    edges = np.sort(_half_edges(faces), 1)
    order = np.lexsort(edges.T[::-1])
    edges, owner = edges[order], order % len(faces)  # half-edges are three lists of all faces
    same = (edges[1:] == edges[:-1]).all(1)
    if (same[1:] & same[:-1]).any():
        edge = tuple(map(int, edges[1:-1][same[1:] & same[:-1]][0]))
        raise ValueError(f"faces: edge {edge} has three faces or more; allowed: at most two faces an edge")
    return np.stack([owner[:-1][same], owner[1:][same]], 1).astype(np.int32)


def euler_characteristic(faces: np.ndarray) -> int:
    """Euler characteristic V - E + F, of the vertices that faces use.

    Args:
      faces: [F, 3] int.

    Returns:
      2 for each closed surface without a hole, 0 for each torus; sums over the parts of a mesh.
    """
    faces = _checked_faces(faces)
    return len(np.unique(faces)) - len(mesh_edges(faces)) + len(faces)


def _from_first(vertices: Any) -> tuple[jax.Array, jax.Array]:
    """(vertices less the first one, the first one), so that those far from 0 keep their digits."""
    vertices = vertices if isinstance(vertices, jax.Array) else np.asarray(vertices)
    points, first = centered(vertices, center=vertices[:1].sum(0))
    return points, first


def _corners(vertices: Any, faces: Any) -> tuple[jax.Array, ...]:
    """The corners (a, b, c) of each face, seen from the first vertex."""
    return _rows_of(_from_first(vertices)[0], faces)


def _rows_of(vertices: jax.Array, faces: Any) -> tuple[jax.Array, ...]:
    return tuple(vertices[jnp.asarray(faces)[:, k]] for k in range(3))


def _scaled_normals(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """[F, 3], normals of length twice the area."""
    a, b, c = _corners(vertices, faces)
    return jnp.cross(b - a, c - a)


def _length(x: jax.Array) -> jax.Array:
    """Length of vectors [..., 3] of any scale, whose gradient is 0, not NaN, at 0."""
    largest = jax.lax.stop_gradient(jnp.abs(x).max(-1))
    scale = jnp.where(largest > 0, largest, 1)
    return scale * safe_sqrt(jnp.square(x / scale[..., None]).sum(-1))


def _unit(x: jax.Array) -> jax.Array:
    length = _length(x)[..., None]
    return x / jnp.where(length > 0, length, 1)


def face_areas(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """Area of each face.

    Args:
      vertices: [V, 3].
      faces: [F, 3] int.

    Returns:
      [F].
    """
    check_mesh(vertices, faces)
    return _length(_scaled_normals(vertices, faces)) / 2


def face_normals(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """Unit normal of each face; 0 for a face without an area.

    Args:
      vertices: [V, 3].
      faces: [F, 3] int.

    Returns:
      [F, 3].
    """
    check_mesh(vertices, faces)
    return _unit(_scaled_normals(vertices, faces))


def vertex_normals(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """Unit normal of each vertex: the mean of its faces' normals, weighted by their areas.

    Args:
      vertices: [V, 3].
      faces: [F, 3] int.

    Returns:
      [V, 3]; 0 for a vertex without a face.
    """
    check_mesh(vertices, faces)
    normals = _scaled_normals(vertices, faces)
    return _unit(jax.ops.segment_sum(jnp.repeat(normals, 3, 0), jnp.asarray(faces).reshape(-1), len(vertices)))


def mesh_volume(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """Volume inside a closed mesh, by the divergence theorem.

    Args:
      vertices: [V, 3].
      faces: [F, 3] int, of a closed mesh.

    Returns:
      Scalar; negative where normals point inward.
    """
    check_mesh(vertices, faces, closed=True)
    a, b, c = _corners(vertices, faces)
    # The sum does not depend on the origin; that of the corners' mean has the smallest terms.
    return ((a - a.mean(0)) * jnp.cross(b - a, c - a)).sum() / 6


def mesh_laplacian(vertices: jax.Array, edges: jax.Array, edge_mask: jax.Array | None = None) -> jax.Array:
    """Laplacian of each vertex with uniform weights: the mean of its neighbors minus the vertex.

    Args:
      vertices: [V, D], positions or any other values of the vertices.
      edges: [E, 2] int, each edge once, as `mesh_edges` gives.
      edge_mask: [E], 0 where an edge is padding; None means that all count.

    Returns:
      [V, D]; 0 for a vertex without an edge.
    """
    check_shapes(vertices=(vertices, "V D"), edges=(edges, "int E 2"))
    dtype, vertices, edges = result_dtype(vertices), _from_first(vertices)[0], jnp.asarray(edges)
    check_indices("edges", edges, len(vertices), "vertices")
    if edge_mask is not None and edge_mask.shape != edges.shape[:1]:
        raise ValueError(f"edge_mask.shape={edge_mask.shape}: does not fit edges; allowed: {edges.shape[:1]}")
    weight = jnp.ones(len(edges)) if edge_mask is None else (edge_mask > 0).astype(jnp.float32)
    tail, head = jnp.concatenate([edges[:, 0], edges[:, 1]]), jnp.concatenate([edges[:, 1], edges[:, 0]])
    weight = jnp.concatenate([weight, weight]).astype(vertices.dtype)
    total = jax.ops.segment_sum((vertices[head] - vertices[tail]) * weight[:, None], tail, len(vertices))
    degree = jax.ops.segment_sum(weight, tail, len(vertices))[:, None]
    return (total / jnp.maximum(degree, 1)).astype(dtype)


@functools.partial(jax.jit, static_argnames="count")
def _sample(key, vertices, faces, count, face_mask):
    a, b, c = _rows_of(vertices, faces)
    normals = jnp.cross(b - a, c - a)
    weights = jax.lax.stop_gradient(_length(normals))
    weights = weights if face_mask is None else jnp.where(jnp.asarray(face_mask) > 0, weights, 0)
    choice, square = jax.random.split(key)
    # A face by its share of the total area.
    cumulative = jnp.cumsum(weights)
    sampled = jax.random.uniform(choice, (count,), cumulative.dtype) * cumulative[-1]
    face = jnp.minimum(jnp.searchsorted(cumulative, sampled, side="right"), len(faces) - 1)
    # A point in it.
    r, s = jax.random.uniform(square, (2, count, 1), cumulative.dtype)
    r = jnp.sqrt(r)
    points = (1 - r) * a[face] + r * (1 - s) * b[face] + r * s * c[face]
    return points, _unit(normals[face]), face


def sample_mesh(
    key: jax.Array, vertices: jax.Array, faces: jax.Array, count: int, face_mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sample points uniformly over the surface of a mesh.

    Args:
      key: PRNG key.
      vertices: [V, 3]; the points have gradients with respect to them, the choice of faces has none.
      faces: [F, 3] int.
      count: number of points.
      face_mask: [F], 0 where a face is padding; None means that all count.

    Returns:
      (points [count, 3], unit normals [count, 3], face of each [count] int32).
    """
    check_mesh(vertices, faces)
    if not is_whole_number(count) or count < 1:
        raise ValueError(f"count={count}: no points; allowed: whole numbers of at least 1")
    if face_mask is not None and np.shape(face_mask) != (len(faces),):
        raise ValueError(f"face_mask.shape={np.shape(face_mask)}: does not fit faces; allowed: {(len(faces),)}")
    if not len(faces):
        raise ValueError("faces: there are none; allowed: at least one face")
    vertices, origin = _from_first(vertices)
    if not any(isinstance(v, jax.core.Tracer) for v in (vertices, faces, face_mask)):
        a, b, c = np.asarray(vertices)[np.asarray(faces).T]
        area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
        if not (area if face_mask is None else area[np.asarray(face_mask) > 0]).sum() > 0:
            raise ValueError("vertices: no face has an area; allowed: a mesh with a surface")
    points, normals, face = _sample(key, vertices, jnp.asarray(faces), count, face_mask)
    return add_center(points, origin), normals, face


def subdivide_mesh(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split each face into four at the midpoints of its edges.

    Args:
      vertices: [V, D], positions and anything else to be averaged.
      faces: [F, 3] int.

    Returns:
      (vertices [V + E, D], the old ones first; faces [4 F, 3] int32; edges [E, 2] int32, whose midpoint is vertex V +
      e: features of new vertices are means over them).
    """
    check_shapes(vertices=(vertices, "V D"))
    vertices, faces = np.asarray(vertices), _checked_faces(faces)
    check_indices("faces", faces, len(vertices), "vertices")
    check_finite("vertices", vertices)
    edges, inverse = np.unique(np.sort(_half_edges(faces), 1), axis=0, return_inverse=True)
    ab, bc, ca = len(vertices) + inverse.reshape(3, -1)
    a, b, c = faces.T
    split = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    faces = np.stack([np.stack(face, 1) for face in split], 1).reshape(-1, 3).astype(np.int32)
    return np.concatenate([vertices, vertices[edges].mean(1)]), faces, edges.astype(np.int32)


def icosphere(subdivisions: int = 2, radius: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Build a sphere from an icosahedron by subdivision; all its faces are about equally large.

    Args:
      subdivisions: times that each face is split into four: V = 10·4ˢ + 2, F = 20·4ˢ.
      radius: distance of every vertex from the origin.

    Returns:
      (vertices [V, 3] float32, faces [F, 3] int32), closed, normals outward.
    """
    check_shapes(subdivisions=(subdivisions, "int 0 to 8"), radius=(radius, "> 0"))
    check_finite("radius", radius)
    golden = (1 + 5**0.5) / 2
    signs = [(s, t) for s in (-1, 1) for t in (-1, 1)]
    corners = [np.roll((0, s, t * golden), k) for k in range(3) for s, t in signs]
    vertices = np.array(corners) / np.hypot(1, golden)
    # The faces are the triples of corners at the edge's length from each other, turned outward.
    near = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
    near = np.isclose(near, 2 / np.hypot(1, golden))
    triples = [(i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] & near[j, k] & near[i, k]]
    faces = np.array([t if np.linalg.det(vertices[list(t)]) > 0 else t[::-1] for t in triples], np.int32)
    for _ in range(subdivisions):
        vertices, faces, _ = subdivide_mesh(vertices, faces)
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    return (radius * vertices).astype(np.float32), faces
