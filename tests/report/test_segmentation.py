"""Panels of a segmenter: palettes, overlays, errors, and the order of images."""

import re

import numpy as np

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
    assert (drawn[0, 0] == drawn[0, 0, 0]).all()  # right: gray
    assert drawn[0, 2].tolist() == [0, 0, 0]  # void
    assert drawn[1, 0].tolist() == drawn[1, 2].tolist() == [213, 94, 0]


def test_iou_of_each_image_by_hand():
    # Class 0: 1 of 3 pixels, class 1: 1 of 2, class 2: 1 of 2; the pixel of void does not count.
    values = image_iou(np.stack([GUESS, TRUTH % 255, GUESS]), np.stack([TRUTH, TRUTH, 0 * TRUTH + 255]), 3)
    np.testing.assert_allclose(values, [(1 / 3 + 1 / 2 + 1 / 2) / 3, 1, 1])


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
