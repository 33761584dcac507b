"""Mesh R-CNN's mesh branch: image -> voxels -> cubified mesh -> refinement by graph convolutions.

    voxels    logits of a grid in the camera's frustum, one 2-D convolution whose channels are the depth
    cubify    a quad between each occupied cell and its empty neighbor, as two triangles, vertices welded
    refine    vertex_align, graph convolutions, vertices <- vertices + tanh(...), a few times
    L         w_v binary cross-entropy of voxels + sum over stages of Chamfer + w_n normals + w_e edge length

Gkioxari, Malik & Johnson 2019, arXiv:1906.02739. Unlike a deformed sphere, a cubified mesh has the holes and parts that
the voxels have. The branch takes one object's image; a detector would crop it.

The lattice makes shapes static: each of its quads and edges has a place, and a mask says which are there. Cells that
touch along an edge alone share it, so that four faces meet there: such a mesh is closed, but no manifold.
"""

import functools
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import binary_cross_entropy_loss, chamfer_loss, chamfer_normal_loss, edge_length_loss, masked_mean
from dlcore.metrics import voxel_iou
from dlcore.nn import Conv, Dense
from dlcore.ops.checks import check_finite, check_shapes, check_size
from dlcore.ops.mesh import sample_mesh
from dlcore.optim import init_state
from dlcore.optim.apply import descend
from dlcore.vision3d.image_encoder import ImageEncoder
from dlcore.vision3d.pixel2mesh import GraphResNet, image_intrinsics
from dlcore.vision3d.point_generator import point_measures
from dlcore.vision3d.vertex_align import vertex_align

__all__ = ["Lattice", "MeshRCNN", "cubify", "cubify_masks", "lattice", "learner"]


class Lattice(NamedTuple):
    """All vertices, quads and edges that a cubified grid may have.

    Args:
      vertices: [V, 3] int, corners of cells, from 0 to the grid's sides; V = (I + 1) (J + 1) (K + 1).
      cells: [Q, 2] int, the two cells beside each quad, I J K for outside; the second has the larger coordinate.
      faces: [2 Q, 3] int, triangles whose normals point to the second cell; those of quad q are 2 q and 2 q + 1.
      edges: [E, 2] int, sides and diagonals of the quads, each once.
      face_edges: [2 Q, 3] int, the edges of each triangle.
    """

    vertices: np.ndarray
    cells: np.ndarray
    faces: np.ndarray
    edges: np.ndarray
    face_edges: np.ndarray


@functools.cache
def lattice(shape: tuple[int, int, int]) -> Lattice:
    """Build the lattice of a grid.

    Args:
      shape: cells along each axis.

    Returns:
      The lattice.
    """
    check_size("shape", shape, "I, J, K")
    size = np.array(shape)
    corners = np.stack(np.meshgrid(*(np.arange(n + 1) for n in shape), indexing="ij"), -1)
    index = np.arange(corners[..., 0].size).reshape(size + 1)
    padded = np.full(size + 2, size.prod())
    padded[1:-1, 1:-1, 1:-1] = np.arange(size.prod()).reshape(shape)
    cells, faces = [], []
    for axis in range(3):
        # Quads across this axis; i and j are the other two, in the order that makes (axis, i, j) right-handed.
        i, j = (axis + 1) % 3, (axis + 2) % 3
        count = size + np.eye(3, dtype=int)[axis]
        at = np.stack(np.meshgrid(*(np.arange(n) for n in count), indexing="ij"), -1).reshape(-1, 3)
        unit = np.eye(3, dtype=int)
        quad = [index[tuple((at + step).T)] for step in (0 * unit[0], unit[i], unit[i] + unit[j], unit[j])]
        first = at + 1 - unit[axis]
        cells.append(np.stack([padded[tuple(first.T)], padded[tuple((first + unit[axis]).T)]], 1))
        halves = [np.stack([quad[k] for k in half], 1) for half in ((0, 1, 2), (0, 2, 3))]
        faces.append(np.stack(halves, 1).reshape(-1, 3))
    faces = np.concatenate(faces)
    sides = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1), -1).reshape(-1, 2)
    edges, inverse = np.unique(sides, axis=0, return_inverse=True)
    return Lattice(corners.reshape(-1, 3), np.concatenate(cells), faces, edges, inverse.reshape(-1, 3))


def cubify_masks(occupancy: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Find the faces of a grid's surface; runs under jit and vmap.

    Args:
      occupancy: [I, J, K] bool.

    Returns:
      (faces [F, 3] int32 of the lattice's vertices, normals outward; face_mask [F]; edge_mask [E]).
    """
    check_shapes(occupancy=(occupancy, "I J K"))
    check_finite("occupancy", occupancy)
    grid = lattice(occupancy.shape)
    inside = jnp.concatenate([occupancy.reshape(-1) > 0, jnp.zeros(1, bool)])
    first, second = inside[grid.cells[:, 0]], inside[grid.cells[:, 1]]
    # The normal points from the occupied cell to the empty one: away from the second where that is occupied.
    face_mask, flip_order = (jnp.repeat(v, 2) for v in (first != second, second))
    faces = jnp.where(flip_order[:, None], grid.faces[:, ::-1], grid.faces).astype(jnp.int32)
    edge_mask = jnp.zeros(len(grid.edges), bool).at[grid.face_edges.reshape(-1)].max(jnp.repeat(face_mask, 3))
    return faces, face_mask, edge_mask


def cubify(occupancy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a grid into a mesh of the faces between occupied and empty cells, vertices welded; on the host.

    Args:
      occupancy: [I, J, K] bool, or numbers of which those above 0 are occupied.

    Returns:
      (vertices [V, 3] float32, cell (i, j, k) from (i, j, k) to (i + 1, j + 1, k + 1); faces [F, 3] int32, normals
      outward). The volume inside is the number of cells.
    """
    occupancy = np.asarray(occupancy)
    if occupancy.ndim != 3:
        raise ValueError(f"occupancy.shape={occupancy.shape}: no grid; allowed: [I, J, K]")
    if not np.isfinite(occupancy).all():
        raise ValueError("occupancy: not finite; allowed: bools or finite numbers")
    if not (occupancy > 0).any():
        raise ValueError("occupancy: no cell is occupied; allowed: at least one occupied cell")
    faces, mask, _ = (np.asarray(v) for v in jax.jit(cubify_masks)(occupancy > 0))
    used, faces = np.unique(faces[mask], return_inverse=True)
    return lattice(occupancy.shape).vertices[used].astype(np.float32), faces.reshape(-1, 3).astype(np.int32)


class MeshRCNN(nn.Module):
    """Voxels and refined meshes from images.

    Args:
      stages: refinements.
      widths: channels of the encoder's stages, each of stride 2; voxels come from the second.
      features: width of the graph convolutions.
      blocks: residual blocks of each refinement.
      near: depth at which the grid begins.
      far: depth at which it ends.
      threshold: probability from which on a cell is occupied; at least the most probable cell is.
      focal: focal length in image widths.
      dtype: dtype of the computation; None means by promotion.
    """

    stages: int = 2
    widths: tuple[int, ...] = (16, 32, 64)
    features: int = 16
    blocks: int = 1
    near: Annotated[float, Range(0)] = 3.0
    far: Annotated[float, Range(0.01)] = 5.0
    threshold: Annotated[float, Range(0, 1)] = 0.5
    focal: Annotated[float, Range(0.01)] = 1 / 0.55
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array) -> dict[str, Any]:
        """Predict a grid and the meshes of each stage.

        Args:
          image: [B, H, W, C], H and W multiples of 4.

        Returns:
          {"voxels": logits [B, H / 4, W / 4, D] of (row, column, depth), D = W / 4; "stages": [B, V, 3] each, the
          cubified vertices first; "faces" [B, F, 3]; "face_mask" [B, F]; "edge_mask" [B, E]}.
        """
        batch, height, width = image.shape[:3]
        if height % 4 or width % 4:
            raise ValueError(f"image.shape={image.shape}: sides are not multiples of 4; allowed: multiples of 4")
        maps = ImageEncoder(self.widths, dtype=self.dtype, name="encoder")(image)
        # Features of the whole image beside those of each place, then a tube of cells behind each pixel.
        whole = Dense(self.widths[1], dtype=self.dtype, name="whole")(maps[-1].mean((1, 2)))
        x = jnp.concatenate([maps[1], jnp.broadcast_to(whole[:, None, None], maps[1].shape)], -1)
        x = nn.relu(Conv(2 * self.widths[1], (3, 3), dtype=self.dtype, name="voxel_hidden")(x))
        voxels = Conv(width // 4, (3, 3), dtype=self.dtype, name="voxels")(x).astype(jnp.float32)

        probability = jax.nn.sigmoid(jax.lax.stop_gradient(voxels))
        least = jnp.minimum(self.threshold, probability.max((1, 2, 3), keepdims=True))
        faces, face_mask, edge_mask = jax.vmap(cubify_masks)(probability >= least)
        grid = lattice(voxels.shape[1:])
        intrinsics = image_intrinsics(height, width, self.focal)
        vertices = jnp.broadcast_to(self._corners(grid, intrinsics), (batch, len(grid.vertices), 3))
        stages, vertex_features = [vertices], None
        center = jnp.array([0, 0, (self.near + self.far) / 2])
        for k in range(self.stages):
            parts = [vertex_align(maps, vertices, intrinsics, (height, width)), vertices - center]
            x = jnp.concatenate(parts if vertex_features is None else [*parts, vertex_features], -1)
            vertex_features = GraphResNet(self.features, self.blocks, self.dtype, name=f"graph{k}")(
                x, grid.edges, edge_mask
            )
            move = Dense(3, kernel_init=nn.initializers.zeros, dtype=self.dtype, name=f"move{k}")(vertex_features)
            vertices = vertices + jnp.tanh(move.astype(vertices.dtype))
            stages.append(vertices)
        return {
            "voxels": voxels,
            "stages": stages,
            "faces": faces[..., ::-1],  # (row, column, depth) is left-handed
            "face_mask": face_mask,
            "edge_mask": edge_mask,
        }

    def _corners(self, grid: Lattice, intrinsics: jax.Array) -> jax.Array:
        """[V, 3]: corners of cells of 4 x 4 pixels and equal depths, in the camera's coordinates."""
        rows, columns, depths = grid.vertices.T
        depth = self.near + (self.far - self.near) * depths / depths.max()
        u, v = 4 * columns - 0.5, 4 * rows - 0.5
        x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * depth
        y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * depth
        return jnp.stack([x, y, jnp.asarray(depth)], -1)


def _voxel_losses(voxels: jax.Array, occupancy: jax.Array) -> jax.Array:
    """[B], the mean cross-entropy of a cell."""
    # The loss adds up the cells; their mean keeps the voxels' share whatever the grid's size.
    flat = (voxels.shape[0], -1)
    cells = binary_cross_entropy_loss(voxels.reshape(flat), occupancy.reshape(flat).astype(jnp.float32))
    return cells / occupancy[0].size


def _stage_losses(
    num_samples: int,
    normal_weight: float | jax.Array,
    edge_weight: float | jax.Array,
    keys: jax.Array,
    vertices: jax.Array,
    outputs: dict,
    batch: dict,
) -> tuple[jax.Array, jax.Array]:
    """Loss and Chamfer distance [B] of the meshes of one stage, of vertices [B, V, 3]."""
    edges = lattice(outputs["voxels"].shape[1:]).edges

    def one(key, vertices, faces, face_mask, edge_mask, points, normals):
        sampled, sampled_normals, _ = sample_mesh(key, vertices, faces, num_samples, face_mask)
        chamfer = chamfer_loss(sampled, points)
        total = chamfer + edge_weight * edge_length_loss(vertices, edges, edge_mask)
        return total + normal_weight * chamfer_normal_loss(sampled, points, sampled_normals, normals), chamfer

    masks = outputs["face_mask"], outputs["edge_mask"]
    return jax.vmap(one)(keys, vertices, outputs["faces"], *masks, batch["points"], batch["normals"])


@check_arguments
def learner(
    *,
    model: MeshRCNN,
    optimizer: optax.GradientTransformation,
    num_samples: Annotated[int, Range(1)] = 256,
    voxel_weight: Annotated[float, Range(0)] = 1.0,
    normal_weight: Annotated[float, Range(0)] = 0.1,
    edge_weight: Annotated[float, Range(0)] = 0.5,
    threshold: Annotated[float, Range(0)] = 0.1,
) -> Learner:
    """Train on `{"image": [B, H, W, C], "points", "normals": [B, N, 3], "occupancy": [B, I, J, K], "index": [B]}`.

    Args:
      model: `MeshRCNN`.
      optimizer: optax transformation for params.
      num_samples: points sampled on each predicted mesh.
      voxel_weight: weight of the voxels' cross-entropy, averaged over cells.
      normal_weight: weight of the normals' disagreement.
      edge_weight: weight of the mean squared length of edges.
      threshold: distance up to which a point is correct, for F1.

    Returns:
      The learner. `predict` returns `{"vertices": [B, V, 3], "faces": [B, F, 3], "face_mask": [B, F], "voxels": [B, I,
      J, K]}`, the last as probabilities.
    """
    stage_losses = functools.partial(_stage_losses, num_samples, normal_weight, edge_weight)

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["image"])["params"]
        return init_state(params, optimizer, rng)

    def objective(params, rng, batch):
        outputs, mask, keys = model.apply({"params": params}, batch["image"]), mask_of(batch), example_keys(rng, batch)
        occupancy, voxels = batch["occupancy"] > 0, outputs["voxels"]  # [B, I, J, K] each
        losses = voxel_weight * _voxel_losses(voxels, occupancy)  # [B]
        chamfers = []
        for k, vertices in enumerate(outputs["stages"]):
            stage_keys = jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(keys)
            value, chamfer = stage_losses(stage_keys, vertices, outputs, batch)  # [B], [B]
            losses += value if k else 0  # the cubified mesh has no gradient
            chamfers.append(chamfer)
        metrics = {
            "loss": Sum.of(losses, mask),
            "chamfer": Sum.of(chamfers[-1], mask),
            "cubified_chamfer": Sum.of(chamfers[0], mask),
            "voxel_iou": Sum.of(jax.vmap(voxel_iou)(voxels > 0, occupancy), mask),
        }
        return masked_mean(losses, mask), (metrics, outputs)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, _) = objective(params, state.rng, batch)
        return value, metrics

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        def value_fn(params):
            value, (metrics, _) = objective(params, jax.random.fold_in(state.rng, state.step), batch)
            return value, metrics

        # Gradient of the losses of voxels and meshes, on points that are new at each step, then the optimizer step.
        return descend(state, optimizer, value_fn)

    def evaluate(state: State, batch: dict) -> Metrics:
        _, (metrics, outputs) = objective(state.params, state.rng, batch)
        keys, count = example_keys(jax.random.fold_in(state.rng, 1), batch), batch["points"].shape[1]
        points = jax.vmap(lambda key, v, f, m: sample_mesh(key, v, f, count, m)[0])(
            keys, outputs["stages"][-1], outputs["faces"], outputs["face_mask"]
        )
        return {**metrics, **point_measures(points, batch["points"], mask_of(batch), threshold)}

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        outputs = model.apply({"params": state.params}, batch["image"])
        return {
            "vertices": outputs["stages"][-1],
            "faces": outputs["faces"],
            "face_mask": outputs["face_mask"].astype(jnp.int32),
            "voxels": jax.nn.sigmoid(outputs["voxels"]),
        }

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)
