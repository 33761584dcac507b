"""Pictures with boxes: what is drawn, and what is left out."""

import numpy as np

from dlcore.report.detection import COLORS, detections, draw_boxes


def test_a_box_is_drawn_in_its_color():
    image = np.full((40, 60, 3), 30, np.uint8)
    drawn = draw_boxes(image, np.array([[10, 15, 30, 35]]), np.array([1]), ["a", "b"], np.array([0.87]), scale=2)
    assert drawn.shape == (80, 120, 3)
    colored = (drawn == COLORS[1]).all(-1)
    assert all(colored[place] for place in ((50, 20), (50, 59), (69, 40)))  # left, right and lower, twice as large
    assert not colored[40:66, 24:56].any()  # nothing inside
    assert (drawn[75:, 90:] == 30).all()  # nothing elsewhere
    plain = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), ["a", "b"])
    np.testing.assert_array_equal(plain, image)


def test_true_boxes_are_white_and_broken():
    image = np.full((40, 60, 3), 30, np.uint8)
    drawn = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), ["a"], truth=np.array([[10, 10, 50, 30]]))
    top = (drawn[10, 10:50] == 255).all(-1)
    assert 0.3 < top.mean() < 0.9


def test_boxes_at_the_edge_and_beyond_do_not_fail():
    image = np.zeros((20, 20, 3), np.uint8)
    boxes = np.array([[0, 0, 20, 20], [-5, -5, 3, 3], [15, 15, 40, 40], [5, 5, 5, 5]], np.float32)
    assert draw_boxes(image, boxes, np.arange(4), list("abcd"), np.ones(4)).shape == (20, 20, 3)


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
