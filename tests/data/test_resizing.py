"""Resizing by the shortest edge: sizes, pixels, canvases; detection/test_padding compares them with torchvision's."""

import numpy as np
import pytest

from dlcore.data.resizing import ShortestEdge, resize_bilinear, shortest_edge


def test_sizes_by_hand():
    """s = min(8 / min, 13 / max): 8 / 6 for 6 x 8, 13 / 20 for 6 x 20, rounded down."""
    edge = ShortestEdge(8, 13, (32, 32))
    assert edge.size(6, 8) == (8, 10)
    assert edge.size(8, 6) == (10, 8)
    assert edge.size(6, 20) == (3, 13)  # floor(3.9)
    assert edge.size(1, 1000) == (1, 13)  # never less than a pixel
    assert edge.size(1000, 1) == (13, 1)
    assert ShortestEdge(800, 1333, (1344, 1344)).size(480, 640) == (800, 1066)


def test_pixels_by_hand():
    """Two pixels to four: centers at -0.25 (cut to 0), 0.25, 0.75 and 1.25 (beyond the last)."""
    image = np.array([[[0], [100]]], np.uint8)
    np.testing.assert_array_equal(resize_bilinear(image, (1, 4))[0, :, 0], [0, 25, 75, 100])
    # Without antialiasing every second pixel of four is passed over: the centers are 0.5 and 2.5.
    image = np.array([[[0], [10], [200], [100]]], np.uint8)
    np.testing.assert_array_equal(resize_bilinear(image, (1, 2))[0, :, 0], [5, 150])
    floats = resize_bilinear(np.array([[[0.0], [1.0]]], np.float32), (1, 4))
    np.testing.assert_allclose(floats[0, :, 0], [0, 0.25, 0.75, 1])
    assert resize_bilinear(image, (1, 4)) is image


def test_images_lie_in_the_upper_left_corner_of_the_canvas():
    edge = ShortestEdge(4, 8, (8, 10))
    placed, size = edge.place(np.full((2, 3, 3), 7, np.uint8))
    assert (placed.shape, placed.dtype, size) == ((8, 10, 3), np.uint8, (4, 6))
    assert (placed[:4, :6] == 7).all()
    assert placed.sum() == 4 * 6 * 3 * 7


def test_the_canvas_holds_the_longest_side_both_ways():
    assert shortest_edge("stretch") is None
    assert shortest_edge("shortest_edge:800,1333") == (800, 1333, (1344, 1344))
    assert shortest_edge("shortest_edge:64,96").canvas == (96, 96)
    assert shortest_edge("shortest_edge:800,1333", (800, 1344)).canvas == (800, 1344)


def test_the_least_canvas_of_an_image_is_of_multiples_of_32():
    edge = shortest_edge("shortest_edge:800,1333")
    assert edge.fitted(480, 640) == (800, 1333, (800, 1088))  # 800 by 1066
    assert edge.fitted(640, 480).canvas == (1088, 800)


def test_bad_resizings_are_named():
    with pytest.raises(ValueError, match=r"^canvas=700,1400: too small for .*allowed: from 800, 1333"):
        shortest_edge("shortest_edge:800,1333", (700, 1400))


@pytest.mark.parametrize("size", [(5, 3), (2, 7), (3, 4)])
def test_rows_and_columns_are_interpolated_alike(size):
    """The pixel i of n reads at (i + 1/2) length / n - 1/2, from the first center to the last."""
    image = np.random.default_rng(0).random((3, 4, 2)).astype(np.float32)
    weights = []
    for length, target in zip(image.shape[:2], size, strict=True):
        center = ((np.arange(target) + 0.5) * length / target - 0.5).clip(0, length - 1)
        weights.append(np.maximum(1 - np.abs(center[:, None] - np.arange(length)), 0))
    expected = np.einsum("ih,jw,hwc->ijc", *weights, image)
    np.testing.assert_allclose(resize_bilinear(image, size), expected, rtol=1e-5)
    levels = (255 * image).astype(np.uint8)
    found = resize_bilinear(levels, size)
    assert found.dtype == np.uint8
    assert np.abs(found - np.einsum("ih,jw,hwc->ijc", *weights, levels)).max() < 0.51
