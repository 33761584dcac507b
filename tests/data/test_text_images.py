"""What images of strings show, and what bad input gets."""

import chex
import numpy as np
import pytest

from dlcore.data.text_images import FONTS, text_images
from dlcore.data.words import END, PAD, START


def test_captions_are_the_strings_and_each_image_shows_all_of_its_own():
    source = text_images(12, 3, alphabet="7a", lengths=(1, 3))
    images, captions = source.arrays["image"], source.arrays["captions"]
    chex.assert_shape(images, (12, 24, 80, 3))
    for image, row, name in zip(images, captions[:, 0], source.names, strict=True):
        characters = ["7a".index(c) + 4 for c in name]
        expected = [START, *characters, END]
        assert row.tolist() == expected + [PAD] * (5 - len(expected))
        # Two colors, the background the more frequent one, and pixels between them.
        background, text = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
        assert text.max() > 0.5 * 24 * 80
        ink = (image != background[text.argmax()]).any(-1)
        assert ink.sum() > 10 * len(name)
    assert set(source.arrays["font"]) <= set(range(len(FONTS)))


def test_a_longer_string_is_wider():
    widths = []
    for length in (1, 4):
        images = text_images(8, 0, lengths=(length, length)).arrays["image"]
        ink = (images != images[:, :1, :1]).any((1, 3))  # the first pixel is background, if the string leaves room
        widths.append(np.median(ink.sum(1)))
    assert widths[1] > 2.5 * widths[0]


def test_an_image_depends_on_seed_and_index_alone_and_excluded_strings_do_not_come():
    few, many = text_images(3, 5), text_images(9, 5)
    np.testing.assert_array_equal(few.arrays["image"], many.arrays["image"][:3])
    assert (text_images(3, 6).arrays["image"] != few.arrays["image"]).any()
    rest = text_images(20, 0, alphabet="01", lengths=(1, 1), exclude=("0",))
    assert set(rest.names) == {"1"}


@pytest.mark.parametrize(("options", "message"), [({"alphabet": "121"}, "alphabet='121': empty, or a character twice")])
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        text_images(4, **options)
