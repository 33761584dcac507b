"""Filters by their pixels."""

import numpy as np
import pytest

from dlcore.report.filters import GAP, filter_grid, filters
from tests.report.parts_of_panels import images_in, shrunk


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
    kernel[0, 0, 0, 0], kernel[1, 1, 0, 0] = 0.2, -0.1
    (grid,) = images_in(filters(kernel).html)
    first = tile(grid, 0, 0, 3)[..., 0]
    np.testing.assert_allclose([first[0, 0], first[1, 1], first[2, 2]], [255, 64, 128], atol=1)  # .2, -.1 and 0 of .2
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


@pytest.mark.parametrize(
    ("inputs", "filters", "columns", "rows"),
    [
        (3, 12, 12, 1),  # 8 columns or more that 12 fills, next to sqrt(24): 12
        (3, 7, 7, 1),
        (3, 17, 8, 3),  # no number from 8 to 15 fills rows of 17
        (3, 32, 8, 4),
        (3, 100, 10, 10),  # 15 is sqrt(200), rounded up; 10 and 20 are as near
        (1, 60, 10, 6),  # 11 is sqrt(120), rounded up; 10 and 12 are as near
        (12, 4, 12, 4),
        (32, 2, 32, 2),
        (33, 2, 11, 6),  # 66 tiles: 12 is sqrt(132), rounded up, 11 fills rows
    ],
)
def test_tiles_fill_whole_rows_about_twice_as_wide_as_high(inputs, filters, columns, rows):
    grid = filter_grid(np.zeros((2, 4, inputs, filters), np.float32))
    assert grid.shape == (GAP + rows * (2 + GAP), GAP + columns * (4 + GAP), 4)
    grid = filter_grid(np.zeros((2, 4, inputs, filters), np.float32), scale=3)
    assert grid.shape == (GAP + rows * (6 + GAP), GAP + columns * (12 + GAP), 4)


def test_a_panel_counts_its_filters_and_tiles():
    color, gray = (filters(np.ones((2, 5, inputs, 4)), "Seen", 6) for inputs in (3, 2))
    assert color.subtitle == (
        "4 filters of 2 × 5 × 3; 4 tiles, each in its own range; red, green and blue are the three inputs."
    )
    assert gray.subtitle == "4 filters of 2 × 5 × 2; the first 6 of 8 tiles, each in its own range; mid-gray is 0."
    assert (gray.title, gray.half) == ("Seen", True)
    # 44 / 5 = 8.8: nine pixels a weight; three rows of two columns.
    assert f'width="{GAP + 2 * (5 * 9 + GAP)}"' in gray.html
    large = filters(np.ones((90, 90, 3, 8)))
    assert f'width="{GAP + 8 * (90 + GAP)}"' in large.html
