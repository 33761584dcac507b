"""The rasterizer puts surfaces where they are, the nearest in front."""

import chex
import numpy as np
import pytest

from dlcore.ops import icosphere
from dlcore.report import shapes


def test_a_sphere_fills_its_disc():
    vertices, faces = icosphere(3)
    extent = (np.zeros(3), 2.0)
    image = shapes.render_mesh(vertices, faces, size=100, extent=extent)
    # A disc of radius 1 in a picture 4 wide: π / 16 of its pixels; its shades differ, its frame is white.
    covered = (image < 0.99).any(-1)
    assert covered.mean() == pytest.approx(np.pi / 16, rel=0.03)
    rows, columns = np.nonzero(covered)
    assert (rows.mean(), columns.mean()) == pytest.approx((49.5, 49.5), abs=0.5)
    assert np.ptp(image[covered][:, 2]) > 0.3


def test_views_follow_the_axes():
    # Azimuth 0 looks along -x: y is right and z up. With y up, azimuth 0 looks along -z: x is right.
    point = np.array([[0.0, 0.5, 0.25]])
    extent = (np.zeros(3), 1.0)
    for up, row, column in (("z", 100 * (1 - 0.25) / 2, 75), ("y", 25, 50)):
        image = shapes.render_points(point, (0.0, 0.0), 100, up, extent=extent)
        rows, columns = np.nonzero((image < 0.99).any(-1))
        assert (rows.mean(), columns.mean()) == pytest.approx((row, column), abs=1)


def test_the_nearest_is_in_front():
    # Two squares across the view along -x; the one at x = 1 hides the other, in either order.
    square = np.array([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]], float)
    vertices = np.concatenate([square, square / 2 + [1, 0, 0]])
    near, far = np.array([[4, 5, 6], [4, 6, 7]]), np.array([[0, 1, 2], [0, 2, 3]])
    pictures = [
        shapes.render_mesh(vertices, np.concatenate(order), (0.0, 0.0), 40, extent=(np.zeros(3), 1.0))
        for order in ((near, far), (far, near))
    ]
    np.testing.assert_array_equal(*pictures)
    points = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    image = shapes.render_points(points, (0.0, 0.0), 40, highlighted=[True, False], extent=(np.zeros(3), 1.0))
    red, _, blue = image[20, 20]
    assert red > blue  # the orange one is nearer


def test_two_views_and_a_panel():
    vertices, faces = icosphere(1)
    mesh, points = shapes.two_views(vertices, faces, 32), shapes.two_views(vertices, None, 32)
    chex.assert_shape([mesh, points], (32, 64, 3))
    assert "ball" in shapes.shape_panel([mesh, points], ["ball", "points"], "Shapes").html
    assert shapes.render_mesh(np.zeros((0, 3)), np.zeros((0, 3), int), size=8).min() == 1  # nothing: white
