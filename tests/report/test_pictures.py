import numpy as np
import pytest

from dlcore.report.pictures import captioned_images, data_uri, examples, strip, to_uint8
from tests.report.parts_of_panels import images_in, shrunk


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


def test_a_strip_has_gray_gaps_and_a_wide_one_after_the_first_images():
    """Images of 3 by 2 pixels are enlarged 14 times, to 42 pixels; gaps are 4 pixels wide, after the first 12."""
    images = np.arange(1, 4, dtype=np.uint8)[:, None, None, None] * np.full((1, 3, 2, 3), 60, np.uint8)
    row = strip(images)
    assert row.shape == (42, 28 + 12 + 28 + 4 + 28, 3)
    assert row[41, :, 2].tolist() == [60] * 28 + [128] * 12 + [120] * 28 + [128] * 4 + [180] * 28
    assert strip(images, 0).shape[1] == 28 + 4 + 28 + 4 + 28
    assert strip(images, 2)[0, :, 0].tolist() == [60] * 28 + [128] * 4 + [120] * 28 + [128] * 12 + [180] * 28
    assert strip(images[:1, ..., 0], height=6).shape == (6, 4, 1)


def test_large_images_of_a_strip_lose_rows_and_columns():
    """Every second pixel from 80 = 2 x 20 x 2 rows on."""
    for rows, step in ((79, 1), (80, 2), (119, 2), (120, 3)):
        image = np.arange(rows, dtype=np.uint8)[None, :, None] + np.zeros((1, rows, 10), np.uint8)
        found = strip(image, height=20)
        np.testing.assert_array_equal(found[:, 0, 0], np.arange(rows)[::step])
        assert found.shape[1] == -(-10 // step)


@pytest.mark.parametrize(
    ("shape", "scale", "kind"),
    [
        ((160, 161, 3), 1, "webp"),
        ((161, 159, 3), 1, "png"),
        ((160, 160, 1), 1, "png"),
        ((160, 160, 4), 1, "png"),
        ((80, 80, 3), 2, "png"),
    ],
)
def test_photographs_alone_are_compressed_with_losses(shape, scale, kind):
    assert data_uri(np.zeros(shape, np.uint8), scale).startswith(f"data:image/{kind};base64,")


@pytest.mark.parametrize(
    ("side", "scale", "smooth", "large"),
    [(40, 3, False, False), (95, 2, False, False), (96, 1, True, False), (127, 1, True, False), (128, 1, True, True)],
)
def test_small_images_are_enlarged_to_96_pixels_and_large_ones_take_more_room(side, scale, smooth, large):
    html = captioned_images(np.zeros((1, 2, side), np.uint8), ["<b>x</b>"])
    (image,) = images_in(html)
    assert image.shape == (2 * scale, side * scale)
    assert ('class="smooth"' in html, 'class="images large"' in html) == (smooth, large)
    assert "<figcaption><b>x</b></figcaption>" in html
    assert "figcaption" not in captioned_images(np.zeros((1, 2, side), np.uint8), [""])
    with pytest.raises(ValueError, match="captions=1 texts: for 2 images"):
        captioned_images(np.zeros((2, 2, side), np.uint8), [""])


def test_rounding_errors_beyond_the_unit_range_are_clipped_and_more_is_stretched():
    inside = np.array([[[-0.0009, 0.5], [0.25, 1.0009]]])
    assert to_uint8(inside).tolist() == [[[0, 128], [64, 255]]]
    for wrong in (-0.0011, 1.0011):
        low, high = min(wrong, 0), max(wrong, 1)
        expected = np.rint(255 * (np.array([0, 1, 0.5, wrong]) - low) / (high - low))
        assert to_uint8(np.array([[[0, 1], [0.5, wrong]]])).ravel().tolist() == expected.tolist()
    assert to_uint8(np.array([[[np.nan, 1.0]]])).tolist() == [[[0, 255]]]
    for wrong in (np.zeros((4, 4)), np.zeros((1, 2, 2, 4))):
        with pytest.raises(ValueError, match="wrong shape; allowed"):
            to_uint8(wrong)
