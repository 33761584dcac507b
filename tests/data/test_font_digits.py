"""Rendered digits: their format, and that a digit fills its square as the handwritten ones do."""

import numpy as np
import pytest

from dlcore.data.font_digits import FONTS, font_digits

STILL = {"rotation": 0.0, "shear": 0.0, "scale": 0.0, "shift": 0.0}


@pytest.fixture(scope="module")
def drawn():
    return font_digits(60, seed=1).arrays


@pytest.mark.covers("TL-19")
def test_images_have_the_format_of_the_handwritten_digits(drawn):
    image = drawn["image"]
    assert (image.shape, image.dtype) == ((60, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(16 * image, np.rint(16 * image))
    assert (image.min(), image.max() <= 1) == (0, True)
    np.testing.assert_array_equal(drawn["label"][:12], [*range(10), 0, 1])
    assert (image.max((1, 2, 3)) > 0.4).all(), "each shows something"
    assert len(np.unique(drawn["font"])) > len(FONTS) / 2


@pytest.mark.covers("TL-19")
def test_without_augmentation_a_digit_is_its_font_alone_and_fills_the_height():
    arrays = font_digits(120, seed=2, **STILL).arrays
    zeros = arrays["label"] == 0
    for font in np.unique(arrays["font"][zeros]):
        same = arrays["image"][zeros & (arrays["font"] == font)]
        np.testing.assert_array_equal(same, np.broadcast_to(same[:1], same.shape))
    assert (arrays["image"][:, [0, -1]].max((2, 3)) > 0).all(), "ink in the first and the last row"
    assert np.abs(font_digits(120, seed=2).arrays["image"] - arrays["image"]).mean() > 0.02


def test_an_image_does_not_depend_on_how_many_are_drawn_and_negative_numbers_are_refused(drawn):
    np.testing.assert_array_equal(font_digits(3, seed=1).arrays["image"], drawn["image"][:3])
    with pytest.raises(ValueError, match=r"shear=-1: negative; allowed: at least 0"):
        font_digits(1, shear=-1)
