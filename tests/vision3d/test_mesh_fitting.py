"""A sphere becomes an ellipsoid and a box: the Chamfer distance falls below a tenth of its start."""

import jax
import numpy as np
import pytest

from dlcore import ops
from dlcore.data.solid_meshes import solid_mesh
from dlcore.vision3d.mesh_fitting import MeshLossWeights, fit_mesh


def target(vertices, faces, count):
    points, normals, _ = ops.sample_mesh(jax.random.key(9), vertices, faces, count)
    return np.asarray(points), np.asarray(normals)


@pytest.mark.covers("TD-11")
def test_a_sphere_becomes_an_ellipsoid():
    vertices, faces = ops.icosphere(1)
    points, _ = target(vertices * (1.0, 0.5, 0.3), faces, 128)
    weights = MeshLossWeights(laplacian=0, consistency=0)
    fitted, chamfer = fit_mesh(
        jax.random.key(0), vertices, faces, points, steps=60, learning_rate=0.05, num_samples=128, weights=weights
    )
    assert chamfer[-5:].mean() < chamfer[0] / 10
    # The extents of the target; the loss of edges leaves them a little short.
    np.testing.assert_allclose(np.ptp(fitted, axis=0) / 2, [1.0, 0.5, 0.3], rtol=0.2)
    assert float(ops.mesh_volume(fitted, faces)) > 0  # not turned inside out


@pytest.mark.weekly
def test_a_sphere_becomes_a_box_with_its_normals():
    vertices, faces = ops.icosphere(2, radius=0.4)
    points, normals = target(*solid_mesh("box"), 512)
    weights = MeshLossWeights(normals=0.05)
    fitted, chamfer = fit_mesh(jax.random.key(0), vertices, faces, points, normals, steps=200, weights=weights)
    assert chamfer[-5:].mean() < chamfer[0] / 10
    assert float(ops.mesh_volume(fitted, faces)) == pytest.approx(4, rel=0.15)


def test_bad_input_is_one_clear_line():
    vertices, faces = ops.icosphere(0)
    points = np.zeros((4, 3), np.float32)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"faces: no closed mesh, edge \(\d+, \d+\) has one face; allowed: closed"):
        fit_mesh(key, vertices, faces[1:], points)
