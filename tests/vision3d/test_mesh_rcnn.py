"""Cubify: exact volume and Euler characteristic; Mesh R-CNN's meshes lie where its voxels are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import ops
from dlcore.vision3d import mesh_rcnn
from dlcore.vision3d.mesh_rcnn import MeshRCNN
from tests.wiring import assert_wiring


def grid(*cells, shape=(3, 4, 5)):
    occupancy = np.zeros(shape, bool)
    occupancy[tuple(np.transpose(cells))] = True
    return occupancy


RING = [(1, j, k) for j in range(3) for k in range(3) if (j, k) != (1, 1)]
CASES = {
    # A cube: 8 vertices, 12 triangles.
    "one": (grid((1, 2, 3)), 2, True),
    "two apart": (grid((0, 0, 0), (2, 2, 2)), 4, True),
    "side by side": (grid((0, 1, 1), (0, 1, 2)), 2, True),
    "at the border": (np.ones((2, 2, 2), bool), 2, True),
    "ring": (grid(*RING), 0, True),
    # A hollow: the surface within is a second sphere.
    "hollow": (np.pad(np.pad(np.zeros((1, 1, 1), bool), 1, constant_values=True), 1), 4, True),
    # Along an edge: 2 + 2 less what is shared, two vertices and an edge: 4 - (2 - 1). Four faces meet there.
    "edge": (grid((0, 0, 1), (0, 1, 2)), 3, False),
    # At a corner: 4 less one vertex; every edge has two faces.
    "corner": (grid((0, 0, 1), (1, 1, 2)), 3, True),
}


@pytest.mark.covers("TD-13")
@pytest.mark.parametrize("case", CASES)
def test_cubify_has_the_euler_characteristic_and_the_volume_of_the_cells(case):
    occupancy, euler, closed = CASES[case]
    vertices, faces = mesh_rcnn.cubify(occupancy)
    assert ops.euler_characteristic(faces) == euler
    assert ops.is_closed(faces) == closed
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(occupancy.sum())  # positive: normals point outward
    # Two triangles for each side of a cell whose neighbor is empty; vertices are welded.
    padded = np.pad(occupancy, 1).astype(int)
    sides = sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in range(3))
    assert len(faces) == 2 * sides
    assert len(np.unique(vertices, axis=0)) == len(vertices)


def test_edges_of_the_masks_are_those_of_the_faces():
    occupancy = np.random.default_rng(0).random((3, 4, 5)) < 0.4
    faces, face_mask, edge_mask = jax.jit(mesh_rcnn.cubify_masks)(occupancy)
    edges = mesh_rcnn.lattice((3, 4, 5)).edges[np.asarray(edge_mask)]
    np.testing.assert_array_equal(ops.mesh_edges(np.asarray(faces)[np.asarray(face_mask)]), edges)


def test_bad_grids_are_one_clear_line():
    with pytest.raises(ValueError, match="occupancy: no cell is occupied; allowed: at least one occupied cell"):
        mesh_rcnn.cubify(np.zeros((2, 2, 2)))


TINY = mesh_rcnn.MeshRCNN(stages=1, widths=(4, 4), features=4, blocks=0)
RNG = np.random.default_rng(0)


def batch():
    normals = RNG.normal(size=(2, 16, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    occupancy = np.zeros((2, 2, 2, 2), np.uint8)
    occupancy[0, 0, 1, 0] = occupancy[1, 1] = 1
    return {
        "image": jnp.asarray(RNG.random((2, 8, 8, 1)), jnp.float32),
        "points": jnp.asarray(0.5 * normals + (0, 0, 4), jnp.float32),
        "normals": jnp.asarray(normals, jnp.float32),
        "occupancy": jnp.asarray(occupancy),
        "index": jnp.arange(2),
    }


def test_shapes_of_the_outputs():
    learner = mesh_rcnn.learner(model=TINY, optimizer=optax.adam(1e-3), num_samples=8)
    state = jax.eval_shape(learner.init, jax.random.key(0), batch())
    outputs = jax.eval_shape(learner.predict, state, batch())
    # 2 cells a side: 27 corners; 3 · 3 · 4 quads, 72 triangles.
    assert {k: v.shape for k, v in outputs.items()} == {
        "vertices": (2, 27, 3),
        "faces": (2, 72, 3),
        "face_mask": (2, 72),
        "voxels": (2, 2, 2, 2),
    }


@pytest.mark.slow
@pytest.mark.covers("TD-13")
def test_voxels_are_learned_and_the_mesh_has_their_surface():
    data = batch()
    learner = mesh_rcnn.learner(model=TINY, optimizer=optax.adam(0.02), num_samples=64)
    state = jax.jit(learner.init)(jax.random.key(0), data)
    predict = jax.jit(learner.predict)

    def mesh(outputs):
        faces = np.asarray(outputs["faces"][0])[np.asarray(outputs["face_mask"][0]) > 0]
        return np.asarray(outputs["vertices"][0]), faces

    # At first the mesh is the cubified one: closed, with normals outward in the camera's coordinates.
    vertices, faces = mesh(predict(state, data))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() > 0
    update = jax.jit(learner.update)
    for _ in range(60):
        state, metrics = update(state, data)
    assert float(metrics["voxel_iou"].compute()) == 1
    _, faces = mesh(predict(state, data))
    assert len(faces) == 12
    assert ops.is_closed(faces)


def test_the_wiring_of_mesh_rcnn_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MeshRCNN(1, widths=(4, 4), features=4, near=2.5), (1, 8, 12, 3), [569.845, 7.61956])
