"""Cells, the shares of an attention map in them, and shapes that stay in theirs."""

import numpy as np
import pytest

from dlcore.data import shape_grid
from dlcore.data.shape_grid import (
    COLORS,
    Placed,
    cell_names,
    cell_shares,
    check_grid,
    draw_shapes,
    foreground,
    paint,
    read_shapes,
)


def test_cells_have_names_row_by_row():
    assert cell_names(2) == ("top left", "top right", "bottom left", "bottom right")
    assert cell_names(3)[1:5] == ("top", "top right", "left", "center")
    with pytest.raises(ValueError, match="grid=4: its cells have no names; allowed: 2, 3"):
        cell_names(4)
    with pytest.raises(ValueError, match="size=20: a cell is narrower than 8 pixels; allowed: at least 24"):
        check_grid(20, 3)


def test_shares_of_cells_by_hand():
    # Of four columns in three cells, each cell is 4/3 wide: the second column is 1/3 in cell 0 and 2/3 in cell 1.
    shares = cell_shares(3, 3, 4)
    np.testing.assert_allclose(shares[:3, 0], [[1, 1 / 3, 0, 0], [0, 2 / 3, 2 / 3, 0], [0, 0, 1 / 3, 1]], atol=1e-12)
    np.testing.assert_allclose(shares[:3, 1:], 0, atol=1e-12)
    np.testing.assert_allclose(shares.sum(0), 1)
    np.testing.assert_array_equal(cell_shares(2, 4, 4)[3], np.kron([[0, 0], [0, 1]], np.ones((2, 2))))


def test_a_shape_stays_in_its_cell_and_has_its_color():
    for k, color in enumerate(COLORS):
        image = draw_shapes(np.random.default_rng(k), [Placed(color, "circle", 5)], 30, 3).astype(int)
        own = image[10:20, 20:30]
        assert np.abs(np.delete(image.reshape(-1, 3), _rows(30, 10, 20, 20, 30), 0) - image[0, 0]).max() < 60
        assert np.abs(own[5, 5] - COLORS[color]).max() < 45


def _rows(size, top, bottom, left, right):
    return np.arange(size**2).reshape(size, size)[top:bottom, left:right].ravel()


def test_a_wrapped_shape_continues_on_the_opposite_side():
    canvas = np.zeros((8, 8, 3))
    wrapped = paint(canvas, "square", np.ones(3), (0.0, 4.0), 2 * np.sqrt(2), wrap=True)
    np.testing.assert_array_equal(np.flatnonzero(wrapped.any(0)), [0, 1, 6, 7])
    np.testing.assert_array_equal(np.flatnonzero(wrapped.any(1)), [2, 3, 4, 5])
    np.testing.assert_array_equal(canvas[..., 0], wrapped)
    cut = paint(np.zeros((8, 8, 3)), "square", np.ones(3), (0.0, 4.0), 2 * np.sqrt(2))
    np.testing.assert_array_equal(np.flatnonzero(cut.any(0)), [0, 1])


def test_drawn_shapes_are_read_back():
    placed = [Placed("red", "circle", 0), Placed("blue", "cross", 2), Placed("green", "triangle", 3)]
    image = draw_shapes(np.random.default_rng(4), placed, 32, 2)
    assert read_shapes(image, 2) == placed
    assert read_shapes(image / np.float32(255), 2) == placed
    assert read_shapes(image, 2, least=0.999) == []
    assert read_shapes(np.full_like(image, 100), 2) == []
    wide = np.zeros((32, 34, 3), np.uint8)
    for bad, grid in ((image, 3), (wide, 2)):
        with pytest.raises(ValueError, match=f"cells are no whole pixels; allowed: sides that are multiples of {grid}"):
            read_shapes(bad, grid)


def test_few_pixels_and_weak_colors_are_background():
    """A cell of 16 x 16 counts from 0.06 * 256 = 15.4 pixels on; a pixel counts above a difference of 60 levels."""
    image = np.full((16, 16, 3), 100, np.uint8)
    image[0, 0] = [160, 100, 100]
    image[0, 1] = [100, 161, 100]
    np.testing.assert_array_equal(np.argwhere(foreground(image)), [[0, 1]])
    np.testing.assert_array_equal(np.argwhere(foreground(image / 255, least=59)), [[0, 0], [0, 1]])
    assert shape_grid._templates(16, ("square", "cross"))[0] == ["square", "cross"] * 45


def test_the_drawing_is_what_it_was():
    image = draw_shapes(np.random.default_rng(0), [Placed("red", "square", 1)], 16, 2).astype(int)
    assert [int(image.sum()), int((image[..., 0] * np.arange(256).reshape(16, 16)).sum())] == [97037, 4264965]
