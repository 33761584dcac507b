"""Rendered solids: points project onto what the image shows, and the nearest triangle is seen."""

import chex
import numpy as np
import pytest

from dlcore.data.rasterizer import rasterize, shade
from dlcore.data.solid_images import DISTANCE, camera_intrinsics, solid_images


def test_points_lie_where_the_image_shows_the_solid():
    source = solid_images(7, 3, size=32, num_points=200)
    image, points, normals = (source.arrays[k] for k in ("image", "points", "normals"))
    projected = points @ camera_intrinsics(32).T
    pixels = np.rint(projected[..., :2] / projected[..., 2:]).astype(int)
    covered = np.array([image[i, pixels[i, :, 1], pixels[i, :, 0], 0] > 0 for i in range(7)])
    assert covered.mean() > 0.97  # all but points on the silhouette, whose pixels are covered in part
    # Half of the surface or so looks at the camera; points lie within 1 of the center.
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, rtol=1e-5)
    assert np.linalg.norm(points - (0, 0, DISTANCE), axis=-1).max() <= 1 + 1e-5
    toward = ((points * normals).sum(-1) < 0).mean()
    assert 0.3 < toward < 0.7
    again = solid_images(2, 3, size=32, num_points=200).arrays
    np.testing.assert_array_equal(again["image"], image[:2])
    np.testing.assert_array_equal(again["points"], points[:2])


def test_occupied_cells_are_those_inside():
    source = solid_images(7, 3, size=32, num_points=64, grid=8)
    occupancy, points, image = (source.arrays[k] for k in ("occupancy", "points", "image"))
    chex.assert_shape(occupancy, (7, 8, 8, 8))
    # A cell of a ray that misses the solid is empty, and the mean depth is that of the points, to within a cell.
    blocks = image[..., 0].reshape(7, 8, 4, 8, 4).max((2, 4))
    assert not occupancy[blocks == 0].any()
    depth = 3 + (np.arange(8) + 0.5) / 4
    mean = (occupancy * depth).sum((1, 2, 3)) / occupancy.sum((1, 2, 3))
    np.testing.assert_allclose(mean, points[..., 2].mean(1), atol=0.25)


def test_the_nearest_triangle_is_seen():
    # Triangle 0 covers the left lower half at depth 2; triangle 1, at depth 1, the pixels (0, 0), (1, 0), (0, 1).
    pixels = np.array([[0, 0], [0, 3], [3, 3], [0, 0], [1, 0], [0, 1]], float)
    nearness = 1 / np.array([2, 2, 2, 1, 1, 1])
    face, near = rasterize(pixels, nearness, np.array([[0, 1, 2], [3, 4, 5]]), 4, 4)
    np.testing.assert_array_equal(face, [[1, 1, -1, -1], [1, 0, -1, -1], [0, 0, 0, -1], [0, 0, 0, 0]])
    np.testing.assert_allclose(near[[0, 3, 0], [0, 0, 3]], [1, 0.5, -np.inf])


def test_a_triangle_beyond_all_edges_fills_the_image():
    """Nearness 1 + u / 32 + v / 64, at (-8, -8), (24, -8) and (-8, 24): .625, 1.625 and 1.125."""
    pixels, nearness = np.array([[-8, -8], [24, -8], [-8, 24]], float), np.array([0.625, 1.625, 1.125])
    face, near = rasterize(pixels, nearness, np.array([[0, 1, 2]]), 3, 5)
    np.testing.assert_array_equal(face, np.zeros((3, 5)))
    np.testing.assert_allclose(near, 1 + np.arange(5) / 32 + np.arange(3)[:, None] / 64)


def test_a_face_toward_the_light_is_brightest_on_either_side():
    light = np.array([-0.4, -0.5, -0.77])
    across = np.linalg.svd(light[None])[2][1:]
    vertices = np.array([np.zeros(3), *across, light])
    faces = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 3]])  # toward it, away from it, along it
    np.testing.assert_allclose(shade(vertices, faces), [1, 1, 0.3], atol=1e-6)


def test_bad_settings_are_one_clear_line():
    with pytest.raises(ValueError, match="kinds='cube': unknown; allowed: box"):
        solid_images(4, kinds=("cube",))
