"""Grids by their pixels; panels by what they hold."""

import chex
import numpy as np
import pytest

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


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"images=\(0, 4, 4, 1\): wrong shape"):
        picture_grid(np.zeros((0, 4, 4, 1)), 3)
    with pytest.raises(ValueError, match="T, N, H, W, C"):
        sample_path(np.zeros((3, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"points=\(5, 3\): wrong shape"):
        scatter(np.zeros((5, 3)), np.ones((2, 2)))


def test_the_nearest_image_is_found_in_any_part_of_the_set():
    """More images than are compared at once; uint8 and floats are compared on one scale."""
    among = np.random.default_rng(0).integers(0, 256, (5000, 2, 2, 1), np.uint8)
    images = among[[4999, 17]] / 255
    images[1, 0, 0, 0] += 0.001
    nearest, distances = nearest_images(images, among)
    np.testing.assert_array_equal(nearest, [4999, 17])
    np.testing.assert_allclose(distances, [0, 0.001], atol=1e-6)
