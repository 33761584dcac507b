"""The rasterizer puts surfaces where they are, the nearest in front."""

import chex
import numpy as np
import pytest

from dlcore.ops import icosphere
from dlcore.report import shapes
from dlcore.report.figure import BLUE, ORANGE, rgb


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


def test_points_are_discs_that_darken_with_their_distance():
    """A picture of 100 pixels is drawn with 200, on which 200 // 90 = 2 is the radius: 13 pixels around the point.

    Seen along -x, y is right. At x = 0 a color is 3/4 of the point's, at x = 1 all of it, at -1 half.
    """
    extent = (np.zeros(3), 1.0)
    base = np.array(rgb(BLUE)) / 255
    for x, factor in ((0.0, 0.75), (1.0, 1.0), (-1.0, 0.5), (-3.0, 0.5)):
        image = shapes.render_points(np.array([[x, 0.2, 0.4]]), (0.0, 0.0), 100, extent=extent)
        np.testing.assert_allclose(image[30, 60], base * factor, atol=1e-9)  # column (1 + 0.2) 50, row (1 - 0.4) 50
        # 13 of four pixels of the picture each are covered.
        assert ((1 - image) / (1 - base * factor)).mean(-1).sum() == pytest.approx(13 / 4)
    small = shapes.render_points(np.zeros((1, 3)), (0.0, 0.0), 20, color=ORANGE, extent=extent)
    assert ((1 - small) / (1 - 0.75 * np.array(rgb(ORANGE)) / 255)).mean(-1).sum() == pytest.approx(5 / 4)


def test_a_view_turns_by_its_azimuth_and_rises_by_its_elevation():
    """From azimuth 90 degrees the viewer stands at y: x points to the left; from above, z points down the picture."""
    extent, point = (np.zeros(3), 1.0), np.array([[0.4, 0.3, 0.2]])
    # Elevation 30 degrees: up is cos 30 z - sin 30 toward the viewer, of which y is the part at azimuth 90.
    up = np.cos(np.pi / 6) * 0.2 - 0.5 * 0.3
    toward = 0.5 * 0.2 + np.cos(np.pi / 6) * 0.3
    image = shapes.render_points(point, (90.0, 30.0), 100, extent=extent)
    rows, columns = np.nonzero((image < 0.99).any(-1))
    assert (rows.mean(), columns.mean()) == pytest.approx((50 * (1 - up), 50 * (1 - 0.4)), abs=1)
    shade = 0.75 + 0.25 * toward
    np.testing.assert_allclose(image.min((0, 1)), shade * np.array(rgb(BLUE)) / 255, atol=1e-9)


def test_a_picture_without_an_extent_fits_the_shape():
    """Points at +-(3, 4, 0) around (1, 1, 1): the half side is 5, in every view."""
    points = np.array([[4.0, 5, 1], [-2, -3, 1]])
    fitted = shapes.render_points(points, (0.0, 0.0), 40)
    np.testing.assert_array_equal(fitted, shapes.render_points(points, (0.0, 0.0), 40, extent=(np.ones(3), 5.0)))
    alone = shapes.render_points(points[:1], (0.0, 0.0), 40)
    rows, columns = np.nonzero((alone < 0.99).any(-1))
    assert (rows.mean(), columns.mean()) == pytest.approx((20, 20), abs=1)
    assert (shapes.render_points(points[:0], size=8) == 1).all()


def test_two_views_pass_on_what_they_are_given():
    vertices, faces = icosphere(0)
    settings = {"size": 16, "up": "y", "color": ORANGE, "extent": (np.full(3, 0.1), 2.0)}
    mesh, points = shapes.two_views(vertices, faces, **settings), shapes.two_views(vertices, **settings)
    for k, view in enumerate(shapes.VIEWS):
        np.testing.assert_array_equal(mesh[:, 16 * k :][:, :16], shapes.render_mesh(vertices, faces, view, **settings))
        np.testing.assert_array_equal(points[:, 16 * k :][:, :16], shapes.render_points(vertices, view, **settings))
    chosen = np.arange(len(vertices)) < 3
    marked = shapes.two_views(vertices, size=16, highlighted=chosen)
    np.testing.assert_array_equal(marked[:, :16], shapes.render_points(vertices, size=16, highlighted=chosen))
    assert (marked != shapes.two_views(vertices, size=16)).any()
    panel = shapes.shape_panel([mesh] * 50, ["x"] * 50, "Balls", "of fifty")
    assert (panel.html.count("<img"), panel.title, panel.subtitle) == (50, "Balls", "of fifty")
