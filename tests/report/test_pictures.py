import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.report.pictures import GAP, examples, filters, to_uint8, worst_mistakes


def images_in(html):
    """Every PNG of a panel, decoded."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def shrunk(image, size):
    """An enlarged image at its own size; every square must be of one colour."""
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
def test_colour_filters_are_the_kernel_each_in_its_own_range():
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 64)) * np.linspace(0.1, 9, 64)
    (grid,) = images_in(filters(kernel).html)
    for number in (0, 7, 8, 63):
        own = kernel[..., number]
        expected = np.rint(255 * (own - own.min()) / (own.max() - own.min()))
        np.testing.assert_allclose(tile(grid, number // 8, number % 8, 5), expected, atol=1)


@pytest.mark.covers("TR-21")
def test_grey_filters_have_zero_in_the_middle():
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


@pytest.mark.parametrize("shape", [(1, 1, 3, 1), (16, 16, 3, 300), (3, 3, 64, 64), (11, 11, 1, 5)])
def test_any_kernel_is_drawn(shape):
    panel = filters(np.random.default_rng(0).normal(size=shape))
    assert len(images_in(panel.html)) == 1
    assert ("the first 256 of" in panel.note) == (shape[-1] in (300, 64))


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


def test_normalised_images_are_stretched():
    images = np.stack([np.linspace(-2, 2, 16), np.linspace(0, 1, 16)]).reshape(2, 4, 4)
    shown = to_uint8(images)
    assert shown.min(axis=(1, 2)).tolist() == [0, 0]
    assert shown.max(axis=(1, 2)).tolist() == [255, 255]
    np.testing.assert_array_equal(to_uint8(np.full((1, 2, 2), 7.0)), 128)


NAMES = ["cat", "<b>dog</b>", "fish"]


def mistakes(**kwargs):
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.05, 0.95, 0], [0.1, 0.2, 0.7]])
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8) * 50
    return worst_mistakes(
        **{"images": images, "labels": labels, "probabilities": probabilities, "class_names": NAMES} | kwargs
    )


def test_surest_mistakes_come_first():
    panel = mistakes()
    assert [int(image[0, 0]) for image in images_in(panel.html)] == [100, 150, 50]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", panel.html)
    assert [re.sub("<[^>]+>", "|", c) for c in captions] == [
        "|&lt;b&gt;dog&lt;/b&gt; 95 %||is fish",
        "|fish 70 %||is cat",
        "|cat 60 %||is &lt;b&gt;dog&lt;/b&gt;",
    ]
    assert "3 of 4 predictions are wrong" in panel.note
    assert len(images_in(mistakes(count=1).html)) == 1
    assert "is 2<" in mistakes(class_names=None).html


def test_no_mistakes():
    assert "No mistakes in 4 examples" in mistakes(labels=np.array([0, 0, 1, 2])).html


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: examples(np.zeros((2, 4, 4)), ["a"]), "titles has 1 entries for 2 images"),
        (lambda: examples(np.zeros((2, 4, 4, 2))), r"images has shape \(2, 4, 4, 2\)"),
        (lambda: filters(np.zeros((3, 3, 1))), r"kernel has shape \(3, 3, 1\)"),
        (lambda: mistakes(labels=np.zeros(3)), "lengths 4, 3 and 4"),
        (lambda: mistakes(class_names=["a"]), "class_names has 1 entries for 3 classes"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
