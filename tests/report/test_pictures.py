import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.report.pictures import examples, to_uint8


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


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_example_images_are_enlarged_without_change(channels):
    shape = (2, 8, 8) if channels is None else (2, 8, 8, channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for given in (pixels, pixels / np.float32(255)):
        shown = images_in(examples(given, ["a", "b"]).html)
        for image, own in zip(shown, pixels, strict=True):
            assert image.shape[0] >= 96
            np.testing.assert_array_equal(shrunk(image, 8), own.squeeze())


def test_examples_beyond_the_count_are_left_out_and_titles_are_escaped():
    panel = examples(np.zeros((9, 4, 4)), ["<b>"] * 9, count=5)
    assert len(images_in(panel.html)) == 5
    assert "<b>" not in panel.html
    assert panel.html.count("&lt;b&gt;") == 5
    assert examples(np.zeros((0, 4, 4))).html == "<p>No images.</p>"


def test_normalized_images_are_stretched():
    images = np.stack([np.linspace(-2, 2, 16), np.linspace(0, 1, 16)]).reshape(2, 4, 4)
    shown = to_uint8(images)
    assert shown.min(axis=(1, 2)).tolist() == [0, 0]
    assert shown.max(axis=(1, 2)).tolist() == [255, 255]
    np.testing.assert_array_equal(to_uint8(np.full((1, 2, 2), 7.0)), 128)


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (np.zeros((2, 4, 4)), ["a"], "titles=1 titles: wrong length; allowed: 2"),
        (np.zeros((2, 4, 4, 2)), None, r"images=\(2, 4, 4, 2\): wrong shape"),
    ],
)
def test_bad_input_is_named(images, titles, message):
    with pytest.raises(ValueError, match=message):
        examples(images, titles)
