"""Filters by their pixels."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.report.filters import GAP, filters


def images_in(html):
    """Every PNG of a panel, decoded."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def shrunk(image, size):
    """An enlarged image at its own size; every square must be of one color."""
    scale = image.shape[0] // size
    small = image[::scale, ::scale]
    np.testing.assert_array_equal(small.repeat(scale, 0).repeat(scale, 1), image)
    return small


def tile(grid, row, column, size):
    """One tile of a filter panel's picture, shrunk to size x size weights."""
    side = round(44 / size) * size
    y, x = GAP + row * (side + GAP), GAP + column * (side + GAP)
    cut = grid[y : y + side, x : x + side]
    assert (cut[..., 3] == 255).all()
    assert (grid[y - GAP : y, x : x + side, 3] == 0).all()
    return shrunk(cut[..., :3], size)


@pytest.mark.covers("TR-21")
def test_color_filters_are_the_kernel_each_in_its_own_range():
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 64)) * np.linspace(0.1, 9, 64)
    (grid,) = images_in(filters(kernel).html)
    for number in (0, 7, 8, 63):
        own = kernel[..., number]
        expected = np.rint(255 * (own - own.min()) / (own.max() - own.min()))
        np.testing.assert_allclose(tile(grid, number // 8, number % 8, 5), expected, atol=1)


@pytest.mark.covers("TR-21")
def test_gray_filters_have_zero_in_the_middle():
    kernel = np.zeros((3, 3, 1, 8))
    kernel[0, 0, 0, 0], kernel[1, 1, 0, 0] = 2.0, -1.0
    (grid,) = images_in(filters(kernel).html)
    first = tile(grid, 0, 0, 3)[..., 0]
    np.testing.assert_allclose([first[0, 0], first[1, 1], first[2, 2]], [255, 64, 128], atol=1)  # 2, -1 and 0 of 2
    np.testing.assert_allclose(tile(grid, 0, 7, 3), 128, atol=1)


def test_other_depths_show_a_row_of_inputs_a_filter():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 12, 4))
    (grid,) = images_in(filters(kernel).html)
    for cin, cout in ((0, 0), (11, 0), (5, 3)):
        own = kernel[:, :, cin, cout]
        expected = np.rint(127.5 + 127.5 * own / np.abs(own).max())
        np.testing.assert_allclose(tile(grid, cout, cin, 3)[..., 0], expected, atol=1)


@pytest.mark.slow(only=["shape1"])
@pytest.mark.parametrize("shape", [(1, 1, 3, 1), (16, 16, 3, 300), (3, 3, 64, 64), (11, 11, 1, 5)])
def test_any_kernel_is_drawn(shape):
    panel = filters(np.random.default_rng(0).normal(size=shape))
    assert len(images_in(panel.html)) == 1
    assert ("the first 256 of" in panel.subtitle) == (shape[-1] in (300, 64))


def test_a_kernel_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"kernel=\(3, 3, 1\): wrong shape"):
        filters(np.zeros((3, 3, 1)))
