"""Normals of depth maps: those of a plane, and cross products by a loop."""

import jax
import numpy as np
import pytest

from dlcore.ops import depth_to_normals

K = np.array([[4, 0.5, 1], [0, 6, 2], [0, 0, 1]], np.float32)


def test_normals_of_a_plane_are_its_own_and_look_at_the_camera():
    """n.X = 3 with n of length 1: the depth of a pixel is 3 / n.ray; one-sided differences lie in the plane too."""
    normal = np.array([0.2, -0.3, np.sqrt(1 - 0.13)])
    v, u = np.mgrid[:4, :5]
    rays = np.stack([u, v, np.ones((4, 5))], -1) @ np.linalg.inv(K).T
    found = jax.jit(depth_to_normals)((3 / (rays @ normal)).astype(np.float32), K)
    np.testing.assert_allclose(found, np.broadcast_to(-normal, (4, 5, 3)), atol=1e-4)


def test_normals_of_any_map_equal_a_loop():
    depth = np.random.default_rng(0).uniform(1, 2, (3, 4)).astype(np.float32)
    v, u = np.mgrid[:3, :4]
    points = np.stack([u, v, np.ones((3, 4))], -1) @ np.linalg.inv(K).T * depth[..., None]
    found = jax.jit(depth_to_normals)(depth, K)
    for i, j in np.ndindex(3, 4):
        down = points[min(i + 1, 2), j] - points[max(i - 1, 0), j]
        right = points[i, min(j + 1, 3)] - points[i, max(j - 1, 0)]
        want = np.cross(down, right)
        np.testing.assert_allclose(found[i, j], want / np.linalg.norm(want), atol=1e-4)
        assert found[i, j] @ points[i, j] < 0


def test_maps_that_are_none_are_named():
    with pytest.raises(ValueError, match=r"depth.shape=\(1, 3\): no depth map; allowed: \[H, W\] of at least 2 x 2"):
        depth_to_normals(np.ones((1, 3)), K)
