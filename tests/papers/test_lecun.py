"""Deskewing: a slanted stroke becomes an upright one in the middle, and an upright one stays."""

import numpy as np

from experiments.papers.lecun import deskew


def test_a_slanted_stroke_becomes_upright_and_central():
    slanted = np.zeros((1, 9, 9), np.float32)
    slanted[0, np.arange(1, 8), np.arange(1, 8)] = 1.0
    expected = np.zeros((9, 9))
    expected[1:8, 4] = 1.0
    np.testing.assert_allclose(deskew(slanted)[0], expected, atol=1e-5)


def test_half_a_pixel_of_slant_is_shared_by_two_columns():
    image = np.zeros((1, 5, 5), np.float32)
    image[0, 1, 2] = image[0, 3, 3] = 1.0  # slope 1/2; center (2, 2.5)
    upright = deskew(image)[0]
    np.testing.assert_allclose(upright[[1, 3]], [[0, 0, 1, 0, 0]] * 2, atol=1e-6)
    assert upright.sum() == 2


def test_an_upright_stroke_is_moved_to_the_middle():
    image = np.zeros((1, 7, 7), np.float32)
    image[0, 0:3, 1] = 1.0
    upright = deskew(image)[0]
    assert (upright[2:5, 3] == 1).all()
    assert upright.sum() == 3
