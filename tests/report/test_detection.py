"""Pictures with boxes: what is drawn, and what is left out."""

import re

import chex
import numpy as np

from dlcore.report.detection import COLORS, detections, draw_boxes, draw_outputs, error_kinds, outline, precision_recall


def test_a_table_of_many_kinds_of_error_takes_the_whole_width():
    kinds = ("right", "duplicate", "wrong class", "poor box", "both", "background", "missed")
    assert not error_kinds(np.ones((2, 7), int), kinds, ["a", "b"]).half


def test_a_box_is_drawn_in_its_color():
    image = np.full((40, 60, 3), 30, np.uint8)
    drawn = draw_boxes(image, np.array([[10, 15, 30, 35]]), np.array([1]), ["a", "b"], np.array([0.87]), scale=2)
    chex.assert_shape(drawn, (80, 120, 3))
    colored = (drawn == COLORS[1]).all(-1)
    assert all(colored[place] for place in ((50, 20), (50, 59), (69, 40)))  # left, right and lower, twice as large
    assert not colored[40:66, 24:56].any()  # nothing inside
    assert (drawn[75:, 90:] == 30).all()  # nothing elsewhere
    plain = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), ["a", "b"])
    np.testing.assert_array_equal(plain, image)


def test_true_boxes_are_white_and_broken():
    image = np.full((40, 60, 3), 30, np.uint8)
    drawn = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), ["a"], target_boxes=np.array([[10, 10, 50, 30]]))
    top = (drawn[10, 10:50] == 255).all(-1)
    assert 0.3 < top.mean() < 0.9


def test_boxes_at_the_edge_and_beyond_do_not_fail():
    image = np.zeros((20, 20, 3), np.uint8)
    boxes = np.array([[0, 0, 20, 20], [-5, -5, 3, 3], [15, 15, 40, 40], [5, 5, 5, 5]], np.float32)
    chex.assert_shape(draw_boxes(image, boxes, np.arange(4), list("abcd"), np.ones(4)), (20, 20, 3))


def test_objects_of_one_class_have_masks_of_different_colors():
    image = np.full((40, 60, 3), 100, np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:35, 5:25] = masks[1, 5:35, 25:50] = True
    boxes, labels = np.array([[5, 5, 25, 35], [25, 5, 50, 35]]), np.array([0, 0])
    drawn = draw_boxes(image, boxes, labels, ["cat"], np.array([0.5, 0.9]), masks=masks)
    inside = drawn[30, 15], drawn[30, 40]
    # 55 % of the image and 45 % of the color; the best has the first.
    np.testing.assert_allclose(inside[1], 55 + 0.45 * np.array(COLORS[0]), atol=1)
    np.testing.assert_allclose(inside[0], 55 + 0.45 * np.array(COLORS[1]), atol=1)
    np.testing.assert_array_equal(drawn[38], image[38])
    assert (image == 100).all()


def test_an_outline_is_what_has_a_neighbor_outside():
    mask = np.zeros((5, 6), bool)
    mask[1:, 1:5] = True  # down to the edge, which is none
    want = mask.copy()
    want[2:, 2:4] = False
    np.testing.assert_array_equal(outline(mask), want)


def test_outputs_are_drawn_with_masks_and_keypoints():
    outputs = {
        "boxes": np.array([[4.0, 4, 20, 20], [0, 0, 8, 8], [0, 0, 0, 0]]),
        "labels": np.array([0, 0, -1]),
        "scores": np.array([0.9, 0.1, 0]),
        "valid": np.array([True, True, False]),
        "masks": np.ones((3, 7, 7), np.float32),
        "keypoints": np.array([[[40.0, 30, 1]]] * 3),
    }
    image = np.full((40, 60, 3), 100, np.uint8)
    drawn, count = draw_outputs(image, outputs, ["cat"])
    assert count == 1
    assert tuple(drawn[30, 40]) == COLORS[0]
    np.testing.assert_allclose(drawn[17, 12], 55 + 0.45 * np.array(COLORS[0]), atol=1)
    assert (drawn[25:, :30] == 100).all()


def test_captions_stand_below_the_counts():
    outputs = {"boxes": np.zeros((1, 1, 4))} | {name: np.zeros((1, 1)) for name in ("labels", "scores", "valid")}
    panel = detections(np.zeros((1, 12, 12, 3), np.uint8), outputs, None, ["a"], captions=["1 <missed>"])
    assert "0 predicted<br>1 &lt;missed&gt;" in panel.html


def test_the_panel_counts_predicted_and_true_boxes():
    outputs = {
        "boxes": np.tile(np.array([2.0, 2, 9, 9]), (2, 3, 1)),
        "labels": np.zeros((2, 3), int),
        "scores": np.array([[0.9, 0.5, 0.1], [0.9, 0.8, 0.7]]),
        "valid": np.array([[True] * 3, [False] * 3]),
    }
    truth = {"boxes": outputs["boxes"], "box_mask": np.array([[True, False, False], [True, True, False]])}
    panel = detections(np.zeros((2, 12, 12, 3), np.uint8), outputs, truth, ["<a>"])
    assert "2 predicted, 1 true" in panel.html
    assert "0 predicted, 2 true" in panel.html
    assert panel.html.count("<img") == 2
    assert " true" not in detections(np.zeros((2, 12, 12, 3)), outputs, None, ["a"]).html


def test_precision_over_recall_names_the_area_of_each_class():
    precision = np.stack([np.ones(101), np.linspace(1, 0, 101), np.full(101, -1.0)], 1)
    panel = precision_recall(precision, ["cat", "<dog>", "never"])
    assert "cat 100.0" in panel.html
    assert "&lt;dog&gt; 50.0" in panel.html
    assert "never" not in panel.html
    assert "mean of 2 classes, 75.0" in panel.subtitle
    assert "No class occurs" in precision_recall(np.full((101, 1), -1.0), ["a"]).html


def test_of_many_classes_the_best_and_the_worst_are_drawn():
    precision = np.ones((101, 1)) * np.linspace(0, 1, 9)
    panel = precision_recall(precision, [f"class {k}." for k in range(9)])
    assert [k for k in range(9) if f"class {k}." in panel.html] == [0, 1, 2, 6, 7, 8]
    assert "3 best and the 3 worst" in panel.subtitle


def test_kinds_of_error_are_counted_in_a_table():
    html = error_kinds(np.array([[5, 1, 0], [7, 0, 2000]]), ("right", "duplicate", "missed"), ["<cat>", "dog"]).html
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", html)
    assert [(name, re.findall(r">([\d,]+)<", cells)) for name, cells in rows] == [
        ("all", ["12", "1", "2,000"]),
        ("&lt;cat&gt;", ["5", "1", "0"]),
        ("dog", ["7", "0", "2,000"]),
    ]
