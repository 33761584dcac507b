"""Pixel2Mesh: stages of a closed sphere, graph convolutions by neighbors alone, and a loss that falls."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import ops
from dlcore.vision3d import pixel2mesh
from tests.wiring import assert_wiring

TINY = {"stages": 2, "subdivisions": 0, "widths": (4,), "features": 4, "blocks": 1}
MODEL = pixel2mesh.Pixel2Mesh(**TINY)
RNG = np.random.default_rng(0)


def batch(count=2, points=16):
    normals = RNG.normal(size=(count, points, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {
        "image": jnp.asarray(RNG.random((count, 8, 8, 1)), jnp.float32),
        "points": jnp.asarray(normals * (0.9, 0.5, 0.5) + (0, 0, 4), jnp.float32),
        "normals": jnp.asarray(normals, jnp.float32),
        "index": jnp.arange(count),
    }


@pytest.mark.covers("TD-11")
def test_stages_split_the_faces_of_a_closed_mesh():
    start, levels = pixel2mesh.sphere_levels(0, 3)
    assert len(start) == 12
    vertices = start
    for k, level in enumerate(levels):
        if k:
            vertices = np.concatenate([vertices, vertices[level.midpoints].mean(1)])
        ops.check_mesh(vertices, level.mesh.faces, closed=True)
        # Each level has four times the faces, all in the planes of the first: an icosahedron of the same volume.
        assert len(level.mesh.faces) == 20 * 4**k
        assert float(jax.jit(ops.mesh_volume)(vertices, level.mesh.faces)) == pytest.approx(2.5362, rel=1e-4)


@pytest.mark.covers("TD-11")
def test_a_graph_convolution_sees_neighbors_alone():
    # A path 0 - 1 - 2 - 3 - 4 - 5: three convolutions reach three steps, so that vertex 0 does not see vertex 4.
    edges = np.array([[i, i + 1] for i in range(5)])
    net = pixel2mesh.GraphResNet(features=4, blocks=1)
    x = jnp.asarray(RNG.normal(size=(2, 6, 3)), jnp.float32)

    @jax.jit
    def run(x, mask):
        return net.init_with_output(jax.random.key(0), x, edges, mask)[0]

    whole = jnp.ones((2, 5))
    plain = run(x, whole)
    far, near = run(x.at[0, 4].add(9), whole), run(x.at[0, 3].add(9), whole)
    np.testing.assert_array_equal(far[0, 0], plain[0, 0])
    assert np.abs(near[0, 0] - plain[0, 0]).max() > 1e-3
    np.testing.assert_array_equal(near[1], plain[1])  # graphs of a batch are apart
    cut = run(x.at[0, 3].add(9), whole.at[0, 1].set(0))  # without the edge 1 - 2 nothing comes to 0 from there
    np.testing.assert_array_equal(cut[0, 0], run(x, whole.at[0, 1].set(0))[0, 0])


@pytest.mark.slow
def test_shapes_of_the_outputs():
    learner = pixel2mesh.learner(model=MODEL, optimizer=optax.adam(1e-3), num_samples=8)
    state = jax.eval_shape(learner.init, jax.random.key(0), batch())
    outputs = jax.eval_shape(learner.predict, state, batch())
    assert {k: v.shape for k, v in outputs.items()} == {
        "vertices": (2, 42, 3),
        "faces": (2, 80, 3),
        "face_mask": (2, 80),
    }


@pytest.mark.weekly
def test_the_start_is_the_sphere_and_the_chamfer_distance_falls():
    data = batch(points=128)
    model = pixel2mesh.Pixel2Mesh(**TINY, radius=0.2)
    learner = pixel2mesh.learner(model=model, optimizer=optax.adam(0.01), num_samples=128)
    state = jax.jit(learner.init)(jax.random.key(0), data)
    start = jax.jit(learner.predict)(state, data)["vertices"]
    np.testing.assert_allclose(np.linalg.norm(start[:, :12] - jnp.array([0, 0, 4.0]), axis=-1), 0.2, rtol=1e-5)
    update = jax.jit(learner.update)
    history = []
    for _ in range(60):
        state, metrics = update(state, data)
        history.append(float(metrics["chamfer"].compute()))
    assert np.mean(history[-5:]) < 0.5 * np.mean(history[:5])


def test_the_wiring_of_pixel2mesh_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MODEL, (1, 8, 12, 3), [57.4071, -0.963314])
