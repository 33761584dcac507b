"""Panels of a segmenter: palettes, overlays, errors, and the order of images."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.report.segmentation import (
    CAMVID,
    class_table,
    color_classes,
    error_map,
    image_iou,
    legend,
    overlay,
    palette,
    segmentations,
)

IMAGE = np.full((2, 3, 3), 100, np.uint8)
TRUTH = np.array([[0, 1, 255], [0, 2, 2]], np.uint8)
GUESS = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)


def test_palettes_are_those_of_the_data_sets():
    np.testing.assert_array_equal(palette(["sky", "road"]), [CAMVID["sky"], CAMVID["road"]])
    assert palette(["road", "rider"]).tolist() == [[128, 64, 128], [255, 0, 0]]
    # PASCAL VOC's first colors: black, maroon, green, olive, navy; color 8 is (64, 0, 0).
    voc = palette([str(k) for k in range(9)]).tolist()
    assert voc[:5] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert voc[8] == [64, 0, 0]


def test_void_is_not_colored():
    colors = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    drawn = overlay(IMAGE, TRUTH, colors, opacity=0.5)
    assert drawn[0, 0].tolist() == [150, 50, 50]
    assert drawn[0, 2].tolist() == [100, 100, 100]
    red = np.array([[[90, 0, 0]]], np.uint8)
    assert overlay(red, np.zeros((1, 1), int), colors, opacity=0.5).tolist() == [[[115, 15, 15]]], "over gray"
    assert color_classes(TRUTH, colors)[0].tolist() == [[200, 0, 0], [0, 200, 0], [0, 0, 0]]


def test_errors_are_where_the_map_is_wrong_and_the_truth_not_void():
    drawn = error_map(IMAGE, GUESS, TRUTH)
    assert drawn[0, 0].tolist() == [160 + 35] * 3  # right: a pale gray, 0.35 of the image's 100 above 160
    assert drawn[0, 2].tolist() == [0, 0, 0]  # void
    assert drawn[1, 0].tolist() == drawn[1, 2].tolist() == [213, 94, 0]


def test_iou_of_each_image_by_hand():
    # Class 0: 1 of 3 pixels, class 1: 1 of 2, class 2: 1 of 2; the pixel of void does not count.
    values = image_iou(np.stack([GUESS, TRUTH % 255, GUESS]), np.stack([TRUTH, TRUTH, 0 * TRUTH + 255]), 3)
    np.testing.assert_allclose(values, [(1 / 3 + 1 / 2 + 1 / 2) / 3, 1, 1])
    with pytest.raises(ValueError, match=r"targets=.*: wrong shape"):
        image_iou(np.stack([GUESS, GUESS]), TRUTH[None], 3)


def test_the_worst_images_come_first():
    classes, truth = np.stack([TRUTH % 255, GUESS]), np.stack([TRUTH, TRUTH])
    panel = segmentations(np.stack([IMAGE, IMAGE]), classes, truth, ["a", "b", "c<"], count=2)
    assert panel.html.index("image 1, IoU 44.4") < panel.html.index("image 0, IoU 100.0")
    assert panel.html.count("<figure>") == 8
    assert "c&lt;" in panel.html
    assert legend(["a"], np.zeros((1, 3), np.uint8)).count("rgb(0,0,0)") == 1


def test_typical_images_have_the_median_iou():
    truth = np.zeros((5, 1, 4), int)
    classes = np.array([[[1, 1, 1, 0]], [[0] * 4], [[1, 1, 0, 0]], [[1] * 4], [[1, 0, 0, 0]]])  # 1, 4, 2, 0, 3 right
    images = np.zeros((5, 1, 4, 3), np.uint8)

    def shown(count, typical, before=0):
        html = segmentations(images, classes, truth, ["a", "b"], count, typical=typical, num_worst=before).html
        return [int(number) for number in re.findall(r"image (\d+),", html)]

    assert shown(2, False) == [3, 0]
    assert shown(1, True) == [2]
    assert shown(3, True) == [0, 2, 4]
    assert shown(9, True) == [3, 0, 2, 4, 1]
    assert shown(3, True, 2) == [2, 4], "the two worst are in another panel"


def test_classes_of_the_lowest_iou_come_first_and_absent_ones_are_said():
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    panel = class_table(
        np.array([0.8, 10 / 12, np.nan]),
        np.array([0.3, 0.4, np.nan]),
        confusion,
        ["a", "b", "c"],
        0.8167,
        {"one class": 0.25},
    )
    order = [panel.html.index(f"<td>{name}</td>") for name in ("a", "b", "c", "mean", "one class")]
    assert order == sorted(order)
    assert "81.7" in panel.html
    assert "35.0" in panel.html
    assert "25.0" in panel.html
    assert "1 class does not occur there" in panel.subtitle


def test_right_pixels_of_an_error_map_are_a_pale_gray():
    """160 + 0.35 of the mean of 10, 20 and 90 is 174."""
    image = np.tile(np.uint8([10, 20, 90]), (1, 2, 1))
    drawn = error_map(image, np.array([[1, 0]]), np.array([[1, 1]]))
    assert drawn.tolist() == [[[174] * 3, [213, 94, 0]]]
    # 0.4 of 40, the mean, and 0.6 of the color.
    colors = np.array([[0, 0, 0], [100, 200, 50]], np.uint8)
    assert overlay(image, np.array([[1, 255]]), colors).tolist() == [[[76, 136, 46], [40] * 3]]


def test_rows_of_the_classes():
    """The lowest IoU first, absent classes last; the mean of the boundaries leaves out what does not occur."""
    confusion = np.array([[6, 2, 0, 0], [0, 2, 0, 0], [0] * 4, [0] * 4])
    iou, boundary = np.array([0.75, 0.5, np.nan, np.nan]), np.array([0.3, 0.4, np.nan, np.nan])
    panel = class_table(iou, boundary, confusion, ["a", "b", "c", "d"], 0.625, {"most frequent": 0.2}, "By class")
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in panel.html.split("<tr>")[2:]]
    assert rows == [
        ["b", "50.0", "40.0", "100.0", "20.0"],
        ["a", "75.0", "30.0", "75.0", "80.0"],
        ["c", "–", "–", "–", "0.0"],
        ["d", "–", "–", "–", "0.0"],
        ["mean", "62.5", "35.0", "", ""],
        ["most frequent", "20.0", "", "", ""],
    ]
    assert panel.subtitle.endswith("outlines. 2 classes do not occur there, and the mean leaves them out.")
    assert (panel.title, panel.half) == ("By class", True)
    none = class_table(np.full(1, np.nan), np.full(1, np.nan), np.zeros((1, 1), int), ["a"], np.nan, {})
    assert re.findall("<td[^>]*>(.*?)</td>", none.html)[-4:-2] == ["–", "–"]
    assert "occur" not in class_table(iou[:1], boundary[:1], confusion[:1, :1], ["a"], 0.75, {}).subtitle


def test_pictures_are_enlarged_to_about_240_pixels():
    classes = np.zeros((1, 4, 96), int)
    for width, scale in ((96, 2), (95, 3), (500, 1)):
        maps = np.zeros((1, 4, width), int)
        html = segmentations(np.zeros((1, 4, width, 3), np.uint8), maps, maps, ["a"], title="All").html
        with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1]))) as picture:
            assert picture.size == (width * scale, 4 * scale)
    assert "<img" not in segmentations(np.zeros((0, 4, 96, 3), np.uint8), classes[:0], classes[:0], ["a"]).html
    few, many = (segmentations(np.zeros((9, 4, 96, 3), np.uint8), np.repeat(classes, 9, 0), np.repeat(classes, 9, 0),
                               ["a"], **more).html.count("<figure>") for more in ({"count": 2}, {}))  # fmt: skip
    assert (few, many) == (8, 32)
