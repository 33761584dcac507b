import io
import math

import chex
import numpy as np
import pytest
from PIL import Image, ImageOps

from dlcore.data.decoding import Box, center_box, decode_box, load_center_crop, random_box

RNG = np.random.default_rng(0)


def encoded(image, form="PNG", **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def photograph(height, width):
    """Smooth enough for JPEG, sharp enough that a shift by a pixel shows."""
    coarse = RNG.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def torchvision_center(image, short, size):
    """Resize(short) and CenterCrop(size), as torchvision writes them for Pillow images."""
    w, h = image.size
    new = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    image = image.resize(new, Image.Resampling.BILINEAR)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def test_the_center_box_by_hand():
    # 375 high, 500 wide, to 224 of 256: scaled to 256 x 341 (256 * 500 / 375 = 341.33, cut off). The crop begins at
    # row (256 - 224) / 2 = 16 and column round((341 - 224) / 2 = 58.5) = 58 (to even); a scaled row is 375 / 256 rows
    # of the image and a scaled column 500 / 341 columns.
    box = center_box(375, 500, (224, 224))
    np.testing.assert_allclose(box[:4], (16 * 375 / 256, 58 * 500 / 341, 224 * 375 / 256, 224 * 500 / 341))
    assert center_box(500, 375, (224, 224))[:4] == pytest.approx((box.left, box.top, box.width, box.height))
    assert center_box(64, 64, (64, 64), 1.0)[:4] == (0, 0, 64, 64)
    # All of the width and half of the height of a square are left for twice as wide an image.
    assert center_box(80, 80, (20, 40), 1.0)[:4] == (20, 0, 40, 80)


@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (300, 301), (256, 256), (90, 400)])
def test_the_center_is_torchvisions_to_one_gray_level(shape):
    image = photograph(*shape)
    found = decode_box(encoded(image), lambda h, w: center_box(h, w, (224, 224)), (224, 224))
    expected = torchvision_center(Image.fromarray(image), 256, 224)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_images_of_the_right_size_pass_unchanged():
    image = RNG.integers(0, 256, (24, 24, 3), np.uint8)
    np.testing.assert_array_equal(
        decode_box(encoded(image), lambda h, w: center_box(h, w, (24, 24), 1.0), (24, 24)), image
    )


def test_a_box_of_the_size_asked_for_is_cut_out():
    image = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    found = decode_box(encoded(image), lambda h, w: Box(3, 7, 10, 12), (10, 12))
    np.testing.assert_array_equal(found, image[3:13, 7:19])
    mirrored = decode_box(encoded(image), lambda h, w: Box(3, 7, 10, 12, True), (10, 12))
    np.testing.assert_array_equal(mirrored, image[3:13, 7:19][:, ::-1])
    seen = []
    decode_box(encoded(image), lambda *size: seen.append(size) or Box(0, 0, *size), (4, 4))
    assert seen == [(20, 30)]


def test_random_boxes_have_the_areas_and_ratios_asked_for():
    boxes = [random_box(np.random.default_rng(i), 300, 400, (0.1, 0.5), (0.5, 2.0)) for i in range(2000)]
    top, left, height, width, _ = np.array(boxes, float).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 300).all()
    assert (left + width <= 400).all()
    share, ratio = height * width / (300 * 400), width / height
    assert 0.099 <= share.min() < 0.11
    assert 0.49 < share.max() <= 0.503
    assert 0.495 <= ratio.min() < 0.51
    assert 1.96 < ratio.max() <= 2.02
    # Uniform areas have the mean 0.3; four standard errors of U(0.1, 0.5) are 4 * 0.4 / sqrt(12 * 2000) = 0.0103. (All
    # of them fit in but the tall: 0.5 * 120000 pixels at ratio 0.5 are 346 high, which is drawn again.)
    small = random_box(np.random.default_rng(0), 300, 400, (0.1, 0.1))
    assert small.height * small.width == pytest.approx(12000, rel=0.01)
    squarish = np.array([random_box(np.random.default_rng(i), 400, 400, (0.1, 0.4), (0.5, 2.0)) for i in range(2000)])
    assert abs((squarish[:, 2] * squarish[:, 3]).mean() / 160000 - 0.25) < 4 * 0.3 / math.sqrt(12 * 2000)
    assert abs(np.log(squarish[:, 3] / squarish[:, 2]).mean()) < 4 * 2 * math.log(2) / math.sqrt(12 * 2000)
    wide = [random_box(np.random.default_rng(i), 300, 400, (0.1, 0.2), (2, 3)) for i in range(50)]
    assert all(1.95 < box.width / box.height < 3.05 for box in wide)
    # Where a box may begin it begins: rooms are used to both ends.
    assert (top == 0).any()
    assert ((top + height == 300) & (height < 300)).any()


def test_a_box_may_be_a_pixel():
    boxes = [random_box(np.random.default_rng(i), 3, 3, (0.1, 0.1), (1.0, 1.0)) for i in range(9)]
    assert {(box.height, box.width) for box in boxes} == {(1, 1)}


def test_where_no_box_fits_the_largest_central_one_is_taken():
    # 10 x 400 is a ratio of 40: at 4 / 3 the box is 10 high and round(13.33) = 13 wide, from column (400 - 13) // 2.
    assert random_box(np.random.default_rng(0), 10, 400, (1.0, 1.0))[:4] == (0, 193, 10, 13)
    assert random_box(np.random.default_rng(0), 400, 10, (1.0, 1.0))[:4] == (193, 0, 13, 10)


def test_jpegs_are_decoded_small_only_where_four_times_as_much_is_there(monkeypatch):
    from PIL import JpegImagePlugin

    asked = []
    draft = JpegImagePlugin.JpegImageFile.draft
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "draft", lambda self, mode, size: asked.append(size) or draft(self, mode, size)
    )
    image = photograph(1600, 2000)
    data = encoded(image, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(data)).convert("RGB")

    def error(box, side):
        found = decode_box(data, lambda h, w: box, (side, side)).astype(int)
        limits = (box.left, box.top, box.left + box.width, box.top + box.height)
        return np.abs(found - np.asarray(whole.resize((side, side), Image.Resampling.BILINEAR, box=limits))).mean()

    assert error(Box(0, 0, 1600, 2000), 600) == 0
    assert not asked
    # 1600 / 100 = 16 times: decoded at 1 / 8, of which 200 x 250 pixels are left.
    assert error(Box(0, 0, 1600, 2000), 100) < 2.5
    assert asked == [(250, 200)]
    # 1600 / 400 = 4 times: decoded at 1 / 2.
    assert error(Box(0, 0, 1600, 2000), 400) < 2.5
    assert asked[1:] == [(1000, 800)]
    assert error(Box(300, 900, 800, 1000), 100) < 2.5


def test_large_images_are_reduced_to_twice_the_size_before_they_are_resized():
    image = photograph(180, 240)
    found = decode_box(encoded(image), lambda h, w: Box(0, 0, h, w), (18, 24))
    resized = Image.fromarray(image).resize((24, 18), Image.Resampling.BILINEAR, reducing_gap=2.0)
    np.testing.assert_array_equal(found, resized)


def test_gray_palette_and_turned_images():
    gray = RNG.integers(0, 256, (12, 9), np.uint8)
    whole = lambda h, w: Box(0, 0, h, w)  # noqa: E731
    np.testing.assert_array_equal(decode_box(encoded(gray), whole, (12, 9), 3), gray[..., None].repeat(3, -1))
    np.testing.assert_array_equal(decode_box(encoded(gray), whole, (12, 9), 1), gray[..., None])
    color = RNG.integers(0, 256, (12, 9, 3), np.uint8)
    palette = Image.fromarray(color).convert("P")
    np.testing.assert_array_equal(decode_box(encoded(palette), whole, (12, 9)), np.asarray(palette.convert("RGB")))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(color, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))))
    chex.assert_shape(expected, (9, 12, 3))
    np.testing.assert_array_equal(decode_box(turned, whole, (9, 12)), expected)
    np.testing.assert_array_equal(decode_box(turned, whole, (12, 9), orient=False), color)
    seen = []
    for orient in (True, False):
        decode_box(turned, lambda *size: seen.append(size) or Box(0, 0, *size), (4, 4), orient=orient)
    assert seen == [(9, 12), (12, 9)]


def test_bad_images_and_arguments_are_errors(tmp_path):
    data = encoded(photograph(64, 64), "JPEG")
    whole = lambda h, w: Box(0, 0, h, w)  # noqa: E731
    for bad in (data[: len(data) // 2], b"", b"no image"):
        with pytest.raises((OSError, ValueError)):
            decode_box(bad, whole, (8, 8))
    with pytest.raises(ValueError, match="channels=2"):
        decode_box(data, whole, (8, 8), 2)
    (tmp_path / "a.jpg").write_bytes(data[:100])
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read"):
        load_center_crop(tmp_path / "a.jpg", (8, 8))
    (tmp_path / "a.jpg").write_bytes(data)
    expected = decode_box(data, lambda h, w: center_box(h, w, (8, 8)), (8, 8))
    np.testing.assert_array_equal(load_center_crop(tmp_path / "a.jpg", (8, 8)), expected)


def test_opencv_agrees_and_names_what_it_cannot_read():
    try:
        import cv2  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"decoder='opencv' needs cv2, .*: pip install -e '.\[input\]'"):
            decode_box(b"", lambda h, w: Box(0, 0, h, w), (8, 8), decoder="opencv")
        return
    image = photograph(375, 500)
    data = encoded(image, "JPEG", quality=95)

    def difference(box, channels=3):
        both = [
            decode_box(data, lambda h, w: box, (224, 224), channels, name).astype(int) for name in ("pillow", "opencv")
        ]
        return np.abs(both[0] - both[1]).mean()

    for box in (Box(0, 0, 375, 500), Box(30, 50, 300, 320, True), Box(100, 100, 90, 90)):
        assert difference(box) < 1.5
        assert difference(box, 1) < 1.5
    with pytest.raises(ValueError, match="cut off"):
        decode_box(data[: len(data) // 2], lambda h, w: Box(0, 0, h, w), (8, 8), decoder="opencv")
    with pytest.raises(ValueError, match="format"):
        decode_box(b"no image", lambda h, w: Box(0, 0, h, w), (8, 8), decoder="opencv")


OPENCV = """
import io
import numpy as np
from PIL import Image
IMREAD_COLOR_RGB, IMREAD_GRAYSCALE, IMREAD_IGNORE_ORIENTATION, INTER_AREA, INTER_LINEAR = 1, 2, 4, "area", "linear"
resized, threads = [], []
setNumThreads = threads.append
def imdecode(data, flags):
    image = Image.open(io.BytesIO(data.tobytes()))
    assert flags & IMREAD_IGNORE_ORIENTATION
    return None if image.size == (5, 5) else np.asarray(image.convert("RGB" if flags & IMREAD_COLOR_RGB else "L"))
def resize(image, size, interpolation):
    resized.append((image, interpolation))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
def flip(image, axis):
    assert axis == 1
    return image[:, ::-1]
"""
"""The part of OpenCV that is called, by Pillow, that can not decode images of 5 x 5 pixels."""


@pytest.fixture
def stand_in(stand_in_package):
    """A package of this name, which keeps what it was to resize."""
    return stand_in_package("cv2", OPENCV)


def by_opencv(data, box, size, channels=3, orient=True):
    return decode_box(data, lambda *shape: box or Box(0, 0, *shape), size, channels, "opencv", orient=orient)


def test_a_stand_in_for_opencv_gets_the_pixels_of_the_box(stand_in):
    image = RNG.integers(0, 256, (12, 20, 3), np.uint8)
    data = encoded(image)
    found = by_opencv(data, Box(1.6, 3.4, 4.8, 6.0, True), (4, 6))
    np.testing.assert_array_equal(found, image[2:6, 3:9][:, ::-1])  # rows 1.6 to 6.4, columns 3.4 to 9.4
    for size, name in (((6, 10), "area"), ((7, 5), "linear"), ((4, 11), "linear")):
        chex.assert_shape(by_opencv(data, None, size), (*size, 3))
        assert stand_in.resized[-1][1] == name, "area only where both sides shrink by two or more"
    np.testing.assert_array_equal(stand_in.resized[-1][0], image)
    chex.assert_shape(by_opencv(encoded(image[..., 0]), None, (12, 20), 1), (12, 20, 1))
    np.testing.assert_array_equal(stand_in.resized[-1][0], image[..., 0])
    assert set(stand_in.threads) == {1}


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_stand_in_for_opencv_is_turned_as_pillow_turns(stand_in, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    image = np.repeat(np.repeat(RNG.integers(0, 256, (2, 3, 3), np.uint8), 8, 0), 8, 1)
    data = encoded(image, "JPEG", exif=exif, quality=95, subsampling=0)
    opened = Image.open(io.BytesIO(data))
    by_opencv(data, None, (4, 4))
    np.testing.assert_array_equal(stand_in.resized[-1][0], np.asarray(ImageOps.exif_transpose(opened)))
    by_opencv(data, None, (4, 4), orient=False)
    np.testing.assert_array_equal(stand_in.resized[-1][0], np.asarray(opened))


def test_files_that_opencv_cannot_read_go_to_pillow_and_a_cut_file_is_named(stand_in):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    palette = Image.fromarray(image).convert("P")
    for data in (
        encoded(palette), encoded(Image.fromarray(image).convert("RGBA")), encoded(image, "TIFF"),
        encoded(image, exif=exif), encoded(image[:5, :5]),
    ):  # fmt: skip
        whole = lambda *size: Box(0, 0, *size)  # noqa: E731
        np.testing.assert_array_equal(by_opencv(data, None, (5, 4)), decode_box(data, whole, (5, 4)))
    assert not stand_in.resized
    whole = encoded(photograph(64, 64), "JPEG")
    for data in (whole[:-2], whole[: len(whole) // 2]):
        with pytest.raises(ValueError, match="the JPEG is cut off"):
            by_opencv(data, None, (8, 8))
    thumbnail = encoded(photograph(16, 16), "JPEG")
    commented = whole[:2] + b"\xff\xfe" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + whole[2:]
    chex.assert_shape(by_opencv(commented + b"more", None, (8, 8)), (8, 8, 3))
    with pytest.raises(ValueError, match="the JPEG is cut off"):  # the end of the thumbnail is not that of the image
        by_opencv(commented[:-2], None, (8, 8))
