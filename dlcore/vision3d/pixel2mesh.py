"""Pixel2Mesh: deform a sphere into the shape of an image, in stages of rising resolution.

    features = vertex_align(encoder(image), vertices), vertices, features of the stage before
    vertices <- vertices + G-ResNet(features);  then each face is split into four, features of midpoints are means
    L = sum over stages of Chamfer + regularizers (`mesh_loss`)

Wang et al. 2018, arXiv:1804.01654. The start is a small sphere at a known distance; the mesh stays closed
and has no holes.

Deviations: layer norm in the blocks; the layer that moves vertices is dense and starts at 0; the Laplacian itself is
penalized, not its change; normals are compared with those of the nearest points.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Dense, GraphConv, LayerNorm
from dlcore.ops.checks import check_shapes, check_size
from dlcore.ops.mesh import icosphere, sample_mesh, subdivide_mesh
from dlcore.optim import init_state
from dlcore.optim.apply import descend
from dlcore.vision3d.image_encoder import ImageEncoder
from dlcore.vision3d.mesh_fitting import MeshLossWeights, Topology, mesh_loss, topology
from dlcore.vision3d.point_generator import point_measures
from dlcore.vision3d.vertex_align import vertex_align

__all__ = ["GraphResNet", "Level", "Pixel2Mesh", "image_intrinsics", "learner", "sphere_levels"]


class Level(NamedTuple):
    """One resolution of a sphere.

    Args:
      mesh: its topology.
      midpoints: [E, 2] int32, the vertices of the level before between which the new ones lie; they follow the old.
    """

    mesh: Topology
    midpoints: np.ndarray


def sphere_levels(subdivisions: int, stages: int) -> tuple[np.ndarray, list[Level]]:
    """Build a sphere at rising resolutions.

    Args:
      subdivisions: subdivisions of the icosahedron at first.
      stages: number of resolutions.

    Returns:
      (vertices of the first level [V, 3], one level a stage).
    """
    check_whole_number("subdivisions", subdivisions, 0)
    check_whole_number("stages", stages, 1)
    vertices, faces = icosphere(subdivisions)
    levels, finer = [Level(topology(faces), np.zeros((0, 2), np.int32))], vertices
    # Each further level splits every face of the level before into four.
    for _ in range(stages - 1):
        finer, faces, midpoints = subdivide_mesh(finer, faces)
        levels.append(Level(topology(faces), midpoints))
    return vertices, levels


def image_intrinsics(height: int, width: int, focal: float) -> jax.Array:
    """Intrinsics of a camera whose axis passes through the image's center.

    Args:
      height: rows.
      width: columns.
      focal: focal length in image widths.

    Returns:
      [3, 3].
    """
    check_size("height, width", (height, width))
    check_shapes(focal=(focal, "> 0"))
    return jnp.array([[focal * width, 0, (width - 1) / 2], [0, focal * width, (height - 1) / 2], [0, 0, 1.0]])


class GraphResNet(nn.Module):
    """Residual blocks of graph convolutions on equal or masked graphs: [B, V, D] -> [B, V, features].

    Args:
      features: width.
      blocks: residual blocks of two convolutions each.
      dtype: dtype of the computation; None means by promotion.
    """

    features: int = 32
    blocks: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, edges: jax.Array, edge_mask: jax.Array | None = None) -> jax.Array:
        """Combine the features of neighbors.

        Args:
          x: [B, V, D].
          edges: [E, 2] int, each edge once, the same for all graphs.
          edge_mask: [B, E], 0 where an edge is not there; None means that all are.

        Returns:
          [B, V, features].
        """
        batch, count = x.shape[:2]
        # One graph of B V nodes, whose edges go both ways.
        both = np.concatenate([edges, np.asarray(edges)[:, ::-1]])
        directed = (both[None] + count * jnp.arange(batch)[:, None, None]).reshape(-1, 2)  # [2 B E, 2]
        mask = None if edge_mask is None else jnp.concatenate([edge_mask, edge_mask], 1).reshape(-1)

        def convolve(x, name):
            return GraphConv(self.features, dtype=self.dtype, name=name)(x, edges=directed, edge_mask=mask)

        x = x.reshape(batch * count, -1)  # [B V, D]
        x = nn.relu(LayerNorm(dtype=self.dtype, name="norm")(convolve(x, "conv")))
        for i in range(self.blocks):
            y = nn.relu(LayerNorm(dtype=self.dtype, name=f"norm{i}_0")(convolve(x, f"conv{i}_0")))
            x = nn.relu(x + LayerNorm(dtype=self.dtype, name=f"norm{i}_1")(convolve(y, f"conv{i}_1")))
        return x.reshape(batch, count, -1)


class Pixel2Mesh(nn.Module):
    """Predict meshes from images: [B, H, W, C] -> vertices of each stage.

    Args:
      stages: deformations; faces are split between them.
      subdivisions: subdivisions of the icosahedron in the first stage: 1 gives 42 vertices, and 162 in the second
        stage.
      widths: channels of the encoder's stages, each of stride 2.
      features: width of the graph convolutions.
      blocks: residual blocks of each stage.
      radius: radius of the sphere at first.
      depth: depth of its center along the camera's axis.
      focal: focal length in image widths.
      dtype: dtype of the computation; None means by promotion.
    """

    stages: int = 2
    subdivisions: int = 1
    widths: tuple[int, ...] = (16, 32, 64)
    features: int = 32
    blocks: int = 2
    radius: Annotated[float, Range(0.01)] = 0.6
    depth: Annotated[float, Range(0.01)] = 4.0
    focal: Annotated[float, Range(0.01)] = 1 / 0.55
    dtype: Any = None

    @property
    def levels(self) -> list[Level]:
        """The topology of each stage's mesh."""
        return sphere_levels(self.subdivisions, self.stages)[1]

    @nn.compact
    def __call__(self, image: jax.Array) -> list[jax.Array]:
        """Predict the vertices of each stage.

        Args:
          image: [B, H, W, C].

        Returns:
          [B, V_k, 3] for each stage k, in the camera's coordinates; the faces are those of `levels`.
        """
        batch, height, width = image.shape[:3]
        intrinsics = image_intrinsics(height, width, self.focal)
        center = jnp.array([0, 0, self.depth])
        maps = ImageEncoder(self.widths, dtype=self.dtype, name="encoder")(image)
        start, levels = sphere_levels(self.subdivisions, self.stages)
        vertices = jnp.broadcast_to(self.radius * start + center, (batch, *start.shape))  # [B, V, 3]
        vertex_features, predicted = None, []
        for k, level in enumerate(levels):
            # Unpool: new vertices lie in the middle of the old edges, and their features are means too.
            if k:
                middle = level.midpoints
                vertices, vertex_features = (
                    jnp.concatenate([v, v[:, middle].mean(2)], 1) for v in (vertices, vertex_features)
                )
            # Features of the image at each vertex, the vertex itself, and the features of the stage before.
            parts = [vertex_align(maps, vertices, intrinsics, (height, width)), vertices - center]
            x = jnp.concatenate(parts if vertex_features is None else [*parts, vertex_features], -1)
            vertex_features = GraphResNet(self.features, self.blocks, self.dtype, name=f"graph{k}")(x, level.mesh.edges)
            # Zeros at first: an untrained network predicts the sphere.
            move = Dense(3, kernel_init=nn.initializers.zeros, dtype=self.dtype, name=f"move{k}")(vertex_features)
            vertices = vertices + move.astype(vertices.dtype)
            predicted.append(vertices)
        return predicted


def stage_losses(
    keys: jax.Array,
    stages: Sequence[jax.Array],
    meshes: Sequence[Topology],
    batch: dict,
    weights: MeshLossWeights,
    num_samples: int,
) -> tuple[jax.Array, jax.Array]:
    """Add up the losses of all stages.

    Args:
      keys: [B] PRNG keys.
      stages: [B, V_k, 3], vertices of each stage.
      meshes: the topology of each.
      batch: batch with `points` and `normals`, [B, N, 3].
      weights: weights of the losses beside the Chamfer distance.
      num_samples: points sampled on each mesh.

    Returns:
      (loss [B], Chamfer distance of the last stage [B]).
    """
    total, chamfer = 0, None
    for k, (vertices, mesh) in enumerate(zip(stages, meshes, strict=True)):

        def loss(key, vertices, points, normals, k=k, mesh=mesh):
            key = jax.random.fold_in(key, k)
            return mesh_loss(key, vertices, mesh, points, normals, weights, num_samples)

        value, chamfer = jax.vmap(loss)(keys, vertices, batch["points"], batch["normals"])  # [B], [B]
        total += value
    return total, chamfer


@check_arguments
def learner(
    *,
    model: Pixel2Mesh,
    optimizer: optax.GradientTransformation,
    num_samples: Annotated[int, Range(1)] = 256,
    normal_weight: Annotated[float, Range(0)] = 0.01,
    edge_weight: Annotated[float, Range(0)] = 0.1,
    laplacian_weight: Annotated[float, Range(0)] = 0.05,
    consistency_weight: Annotated[float, Range(0)] = 0.01,
    threshold: Annotated[float, Range(0)] = 0.1,
) -> Learner:
    """Train on `{"image": [B, H, W, C], "points": [B, N, 3], "normals": [B, N, 3], "index": [B]}`.

    Args:
      model: `Pixel2Mesh`.
      optimizer: optax transformation for params.
      num_samples: points sampled on each predicted mesh.
      normal_weight: weight of the normals' disagreement.
      edge_weight: weight of the mean squared length of edges.
      laplacian_weight: weight of the mean distance of vertices from the mean of their neighbors.
      consistency_weight: weight of bends between neighboring faces.
      threshold: distance up to which a point is correct, for F1.

    Returns:
      The learner. `predict` returns `{"vertices": [B, V, 3], "faces": [B, F, 3], "face_mask": [B, F]}`.
    """
    meshes = [level.mesh for level in model.levels]
    weights = MeshLossWeights(normal_weight, edge_weight, laplacian_weight, consistency_weight)

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["image"])["params"]
        return init_state(params, optimizer, rng)

    def objective(params, rng, batch):
        stages, mask = model.apply({"params": params}, batch["image"]), mask_of(batch)
        losses, chamfer = stage_losses(example_keys(rng, batch), stages, meshes, batch, weights, num_samples)
        metrics = {"loss": Sum.of(losses, mask), "chamfer": Sum.of(chamfer, mask)}
        return masked_mean(losses, mask), (metrics, stages[-1])

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, _) = objective(params, state.rng, batch)
        return value, metrics

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        def value_fn(params):
            value, (metrics, _) = objective(params, jax.random.fold_in(state.rng, state.step), batch)
            return value, metrics

        # Gradient of the losses of all stages, on points that are new at each step, then the optimizer step.
        return descend(state, optimizer, value_fn)

    def evaluate(state: State, batch: dict) -> Metrics:
        _, (metrics, vertices) = objective(state.params, state.rng, batch)
        # As many points on the last mesh as the target has.
        keys, count = example_keys(jax.random.fold_in(state.rng, 1), batch), batch["points"].shape[1]
        points = jax.vmap(lambda key, v: sample_mesh(key, v, meshes[-1].faces, count)[0])(keys, vertices)
        return {**metrics, **point_measures(points, batch["points"], mask_of(batch), threshold)}

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        vertices = model.apply({"params": state.params}, batch["image"])[-1]
        faces = jnp.broadcast_to(meshes[-1].faces, (vertices.shape[0], *meshes[-1].faces.shape))
        return {"vertices": vertices, "faces": faces, "face_mask": jnp.ones(faces.shape[:2], jnp.int32)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)
