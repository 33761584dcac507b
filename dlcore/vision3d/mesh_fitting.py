"""Fit a mesh to a point set: vertices of a sphere move until points sampled on it lie near the target's.

    L = Chamfer + w_n normals + w_e edge length + w_l Laplacian + w_c normal consistency

Chamfer alone would fold and stretch the mesh; the regularizers keep it even. Faces and edges stay, so that a sphere
becomes a closed surface without holes. As in PyTorch3D's tutorial "Deform a source mesh to form a target mesh"; the
losses are those of Wang et al. 2018, arXiv:1804.01654, and Gkioxari et al. 2019, arXiv:1906.02739.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_whole_number
from dlcore.losses import chamfer_loss, chamfer_normal_loss, edge_length_loss, laplacian_loss, normal_consistency_loss
from dlcore.ops.checks import check_shapes
from dlcore.ops.mesh import adjacent_faces, check_mesh, mesh_edges, sample_mesh
from dlcore.ops.point_sets import check_points

__all__ = ["DEFAULT_WEIGHTS", "MeshLossWeights", "Topology", "fit_mesh", "mesh_loss", "topology"]


class Topology(NamedTuple):
    """Connectivity of a mesh: faces, edges and pairs of neighboring faces.

    Args:
      faces: [F, 3] int32.
      edges: [E, 2] int32, each edge once.
      pairs: [P, 2] int32, faces with a common edge.
    """

    faces: np.ndarray
    edges: np.ndarray
    pairs: np.ndarray


class MeshLossWeights(NamedTuple):
    """Weights of a mesh's losses beside the Chamfer distance.

    Args:
      normals: disagreement of the normals of nearest points.
      edges: mean squared length of edges.
      laplacian: mean distance of vertices from the mean of their neighbors.
      consistency: bends between neighboring faces.
    """

    normals: float = 0.0
    edges: float = 0.1
    laplacian: float = 0.05
    consistency: float = 0.01


DEFAULT_WEIGHTS = MeshLossWeights()
"""Without normals."""


def topology(faces: np.ndarray) -> Topology:
    """Collect the faces, edges and pairs of neighboring faces of a mesh.

    Args:
      faces: [F, 3] int.

    Returns:
      The topology.
    """
    check_shapes(faces=(faces, "int F 3"))
    return Topology(np.asarray(faces, np.int32), mesh_edges(faces), adjacent_faces(faces))


def mesh_loss(
    key: jax.Array,
    vertices: jax.Array,
    mesh: Topology,
    points: jax.Array,
    normals: jax.Array | None = None,
    weights: MeshLossWeights = DEFAULT_WEIGHTS,
    num_samples: int = 256,
) -> tuple[jax.Array, jax.Array]:
    """Loss of one mesh for a target point set.

    Args:
      key: PRNG key of the points on the mesh.
      vertices: [V, 3].
      mesh: its topology.
      points: [N, 3], the target.
      normals: [N, 3] of the target's points, of length 1; None where `weights.normals` is 0.
      weights: weights of the losses beside the Chamfer distance.
      num_samples: points sampled on the mesh.

    Returns:
      (loss, its Chamfer distance), scalars.
    """
    check_shapes(vertices=(vertices, "V 3"), points=(points, "N 3"), normals=(normals, "N 3 or None"))
    check_shapes(**{f"weights.{name}": (weight, ">= 0") for name, weight in weights._asdict().items()})
    check_whole_number("num_samples", num_samples, 1)
    if weights.normals and normals is None:
        raise ValueError(f"normals=None: weights.normals={weights.normals}; allowed: normals of the target's points")
    # Chamfer distance between points on the mesh and the target.
    sampled, sampled_normals, _ = sample_mesh(key, vertices, mesh.faces, num_samples)  # [num_samples, 3] each
    chamfer = chamfer_loss(sampled, points)
    total = chamfer
    # Regularizers; a weight of 0 saves the computation.
    if weights.normals:
        total += weights.normals * chamfer_normal_loss(sampled, points, sampled_normals, normals)
    if weights.edges:
        total += weights.edges * edge_length_loss(vertices, mesh.edges)
    if weights.laplacian:
        total += weights.laplacian * laplacian_loss(vertices, mesh.edges)
    if weights.consistency:
        total += weights.consistency * normal_consistency_loss(vertices, mesh.faces, mesh.pairs)
    return total, chamfer


def fit_mesh(
    key: jax.Array,
    vertices: np.ndarray,
    faces: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray | None = None,
    *,
    steps: int = 300,
    learning_rate: float = 0.02,
    num_samples: int = 512,
    weights: MeshLossWeights = DEFAULT_WEIGHTS,
) -> tuple[np.ndarray, np.ndarray]:
    """Move the vertices of a closed mesh onto a target by Adam.

    Args:
      key: PRNG key.
      vertices: [V, 3], such as those of `icosphere`.
      faces: [F, 3] int, of a closed mesh.
      points: [N, 3], points on the target, at about the same scale.
      normals: [N, 3] of these; None where `weights.normals` is 0.
      steps: number of steps of Adam; the learning rate falls to 0 by a cosine.
      learning_rate: learning rate of the first step, in units of the coordinates.
      num_samples: points sampled on the mesh in each step.
      weights: weights of the losses beside the Chamfer distance.

    Returns:
      (vertices [V, 3] float32, Chamfer distance at each step [steps]).
    """
    check_mesh(vertices, faces, closed=True)
    check_points("points", np.asarray(points))
    check_shapes(points=(points, "N 3"), normals=(normals, "N 3 finite or None"), learning_rate=(learning_rate, "> 0"))
    check_shapes(learning_rate=(learning_rate, "finite"))
    check_whole_number("steps", steps, 1)
    check_whole_number("num_samples", num_samples, 1)
    mesh = topology(faces)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    points = jnp.asarray(points, jnp.float32)
    normals = None if normals is None else jnp.asarray(normals, jnp.float32)

    def step(carry, i):
        vertices, opt_state = carry
        # New points on the mesh at each step.
        loss = jax.value_and_grad(
            lambda v: mesh_loss(jax.random.fold_in(key, i), v, mesh, points, normals, weights, num_samples),
            has_aux=True,
        )
        (_, chamfer), gradient = loss(vertices)
        # Adam moves the vertices; faces and edges stay.
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(vertices, updates), opt_state), chamfer

    @jax.jit
    def run(vertices):
        (vertices, _), chamfer = jax.lax.scan(step, (vertices, optimizer.init(vertices)), jnp.arange(steps))
        return vertices, chamfer

    fitted, chamfer = run(jnp.asarray(vertices, jnp.float32))  # [V, 3], [steps]
    return np.asarray(fitted), np.asarray(chamfer)
