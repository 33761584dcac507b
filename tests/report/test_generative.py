"""Grids by their pixels; panels by what they hold."""

import base64
import io
import re

import chex
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dlcore.report import generative
from dlcore.report.figure import GRAY
from dlcore.report.generative import nearest_images, picture_grid, sample_grid, sample_path, sample_rows, scatter


def test_a_grid_pixel_by_pixel():
    images = np.array([0.0, 0.5, 1.0, 2.0, -1.0], np.float32).reshape(5, 1, 1, 1)
    # Two columns, three rows, gaps of one gray pixel; 2 and -1 are clipped; what is left over of the last row is gray.
    want = [[0, 128, 128], [128, 128, 128], [255, 128, 255], [128, 128, 128], [0, 128, 128]]
    np.testing.assert_array_equal(picture_grid(images, 2)[..., 0], want)
    chex.assert_shape(picture_grid(np.zeros((4, 2, 3, 3), np.uint8), 4, gap=0), (2, 12, 3))


def test_panels_hold_a_picture_and_their_note():
    images = np.zeros((5, 4, 4, 1))
    panel = sample_grid(images, "Drawn", "Not chosen.")
    assert (panel.title, panel.subtitle) == ("Drawn", "Not chosen.")
    assert panel.html.count("data:image/png;base64,") == 1
    assert "data:image/png" in sample_path(np.zeros((3, 2, 4, 4, 1))).html
    assert scatter(np.zeros((5, 2)), np.ones((2, 2))).html.startswith("<svg")


def test_a_few_small_images_are_not_blown_up():
    # Two images of 20 pixels and a gap are 41 pixels wide: five times, 205, as each has at most 112; twelve fill the
    # panel, 251 pixels twice.
    for count, width in ((2, 205), (12, 502)):
        assert f'width="{width}"' in sample_rows({"test images": np.zeros((count, 20, 20, 1))}, "Reconstructions").html


def test_the_path_has_a_row_a_sample():
    moments = np.stack([np.full((2, 1, 1, 1), k / 2) for k in range(3)])
    moments[:, 1] = 0
    by_sample = moments.swapaxes(0, 1).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(picture_grid(by_sample, 3, gap=0)[..., 0], [[0, 128, 255], [0, 0, 0]])


def test_the_nearest_image_is_found_in_any_part_of_the_set():
    """More images than are compared at once; uint8 and floats are compared on one scale."""
    among = np.random.default_rng(0).integers(0, 256, (5000, 2, 2, 1), np.uint8)
    images = among[[4999, 17]] / 255
    images[1, 0, 0, 0] += 0.001
    nearest, distances = nearest_images(images, among)
    np.testing.assert_array_equal(nearest, [4999, 17])
    np.testing.assert_allclose(distances, [0, 0.001], atol=1e-6)


def shown(html):
    """Every picture of a panel, each square of one color as one pixel, and the width that the page gives it."""
    pictures = []
    for width, text in re.findall(r'width="(\d+)" src="data:image/png;base64,([^"]+)"', html):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        assert picture.shape[1] == int(width)
        pictures.append(picture)
    return pictures


def test_panels_of_wide_images_are_enlarged_by_a_whole_factor():
    """Images of 2 by 3 pixels: 560 / 11 = 50.9 a pixel for three of them with gaps, 112 / 2 = 56 for a single one."""
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.full((1, 2, 3, 1), 40, np.uint8)
    (grid,) = shown(sample_grid(images, "Drawn", columns=3).html)
    assert grid.shape == (5 * 51, 11 * 51)
    np.testing.assert_array_equal(grid[25::51, 25::51][:, ::4][:, :3][[0, 3]], [[0, 40, 80], [120, 160, 200]])
    assert (grid[2 * 51 : 3 * 51] == 128).all()
    (one,) = shown(sample_grid(images[5:], columns=8).html)
    assert one.shape == (2 * 56, 3 * 56)
    (path,) = shown(sample_path(images.reshape(3, 2, 2, 3, 1)).html)
    # A row a sample: times 0, 2 and 4 of the first, 1, 3 and 5 of the second.
    np.testing.assert_array_equal(path[25::51, 25::51][[0, 3]][:, [0, 4, 8]], [[0, 80, 160], [40, 120, 200]])
    (tall,) = shown(sample_path(np.zeros((1, 1, 9, 4, 1))).html)
    assert tall.shape == (9 * 28, 4 * 28)  # 112 over the shorter side
    rows = sample_rows({"a": images[:2], "<b>": images[:3]}, "Rows", "two")
    assert [picture.shape for picture in shown(rows.html)] == [(2 * 56, 7 * 56), (2 * 51, 11 * 51)]
    assert [rows.half, sample_grid(images).half, sample_path(images[None]).half] == [True] * 3
    assert "<figcaption>&lt;b&gt;</figcaption>" in rows.html
    with pytest.raises(ValueError, match="columns=0: out of range; allowed: at least 1"):
        picture_grid(images, 0)


def test_points_lie_in_the_plane_with_circles_around_the_modes(monkeypatch):
    monkeypatch.setattr(generative, "figure_panel", lambda *rest: rest)
    points, centers = np.array([[0.5, -1], [2, 0]]), np.array([[-2.0, 1], [1, 0]])
    title, figure, subtitle = scatter(points, centers, "Ring", "of two")
    (axes,) = figure.axes
    found = [np.asarray(part.get_offsets()).tolist() for part in axes.collections]
    assert found == [centers.tolist(), points.tolist()]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2.8, 2.8), (-2.8, 2.8))
    assert (title, subtitle, axes.get_aspect()) == ("Ring", "of two", 1)
    assert axes.collections[0].get_facecolor().size == 0, "circles are empty"
    assert {(spine.get_visible(), to_hex(spine.get_edgecolor())) for spine in axes.spines.values()} == {(True, GRAY)}
    with pytest.raises(ValueError, match=r"points=\(5,\): wrong shape"):
        scatter(np.zeros(5), centers)


def test_a_picture_is_written_enlarged_and_its_folder_made(tmp_path):
    for channels in (1, 3):
        picture = np.arange(6 * channels, dtype=np.uint8).reshape(2, 3, channels)
        path = generative.save_picture(tmp_path / "new" / "a.png", picture, 2)
        with Image.open(path) as image:
            found = np.asarray(image).reshape(4, 6, channels)
        np.testing.assert_array_equal(found, picture.repeat(2, 0).repeat(2, 1))
    with Image.open(generative.save_picture(path, picture)) as image:
        assert image.size == (3, 2)


def test_distances_are_those_of_whole_images_of_floats_too():
    among, images = np.array([[0.0, 0.5], [1, 1]])[:, None, :, None], np.array([[0.3, 0.9]])[:, None, :, None]
    nearest, distances = nearest_images(images, among)
    assert nearest.tolist() == [0]
    np.testing.assert_allclose(distances, [0.5], rtol=1e-6)  # 3 : 4 : 5; to the other it is sqrt(0.49 + 0.01)
