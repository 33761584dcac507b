"""PCK of detections by hand: which detection an object's keypoints are read from."""

import numpy as np
import pytest

from dlcore.evaluators.keypoints import pck_evaluator


@pytest.fixture
def rows():
    return {
        "boxes": np.array([[[0.0, 0, 20, 10], [30, 0, 40, 20], [0, 0, 0, 0]]]),
        "labels": np.array([[0, 1, -1]]),
        "box_mask": np.array([[True, True, False]]),
        "keypoints": np.array([[[[2.0, 2, 2], [8, 8, 1]], [[31, 1, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]]),
    }


@pytest.fixture
def outputs(rows):
    """The second detection is that of the first object, the third that of the second; the first is a duplicate."""
    points = rows["keypoints"][0, :, :, :2]
    return {
        "boxes": np.array([[[0.0, 0, 20, 9], [0, 0, 20, 10], [30, 0, 40, 20]]]),
        "scores": np.array([[0.5, 0.9, 0.8]]),
        "labels": np.array([[0, 0, 1]]),
        "valid": np.array([[True, True, True]]),
        "keypoints": np.stack([points[0] + 9, points[0], points[1]])[None],
    }


def measure(rows, outputs, parts=1):
    evaluator = pck_evaluator(("nose", "tail"))
    acc = None
    for _ in range(parts):
        acc = evaluator.add(acc, outputs, rows)
    found = evaluator.finish(acc)
    assert set(found) == set(evaluator.names)
    return found


def test_keypoints_are_those_of_the_best_detection(rows, outputs):
    assert measure(rows, outputs) == {"pck": 1, "pck/nose": 1, "pck/tail": 1}
    outputs["scores"][0, 0] = 0.95  # the one whose keypoints are off
    assert measure(rows, outputs, 2) == {"pck": 1 / 3, "pck/nose": 1 / 2, "pck/tail": 0}


def test_an_object_that_is_not_found_has_wrong_keypoints(rows, outputs):
    outputs["labels"][0, 2] = 0
    assert measure(rows, outputs) == {"pck": 2 / 3, "pck/nose": 1 / 2, "pck/tail": 1}
    outputs["valid"][:] = False
    assert measure(rows, outputs)["pck"] == 0
    rows["box_mask"][:] = False
    assert measure(rows, outputs) == {"pck": None, "pck/nose": None, "pck/tail": None}


def measure_with(rows, outputs, **settings):
    evaluator = pck_evaluator(("nose", "tail"), **settings)
    return evaluator.finish(evaluator.add(None, outputs, rows))["pck"]


def test_a_detection_of_the_least_overlap_matches_and_the_tolerance_is_that_of_the_longer_side(rows, outputs):
    """(0, 0)-(20, 5) has half of the first object's area. Of its side of 20, one tenth is 2 and one twentieth 1."""
    outputs["valid"][0, :] = [False, True, True]
    outputs["boxes"][0, 1] = [0, 0, 20, 5]
    assert measure_with(rows, outputs) == 1
    assert measure_with(rows, outputs, min_iou=0.51) == pytest.approx(1 / 3)
    outputs["keypoints"][0, 1, :, 1] += 1.5
    assert measure_with(rows, outputs) == 1
    assert measure_with(rows, outputs, alpha=0.05) == pytest.approx(1 / 3)


def test_an_object_keeps_its_first_detection_and_the_next_one_takes_another(rows, outputs):
    """Two objects overlap by 10 / 14: both detections fit the first one best, and the second takes what is left."""
    rows["boxes"][0, :2] = [[0, 0, 12, 10], [2, 0, 14, 10]]
    rows["labels"][0, :2] = 0
    outputs["boxes"][0] = [[1, 0, 12, 10], [0, 0, 12, 10], [30, 0, 40, 20]]
    outputs["keypoints"][0, 0] = rows["keypoints"][0, 1, :, :2]
    assert measure_with(rows, outputs) == 1  # all three labeled points, two of the first and one of the second
    outputs["scores"][0, :2] = 0.7
    outputs["keypoints"][0, :2] = outputs["keypoints"][0, 1::-1]  # of equal scores the first detection chooses first
    assert measure_with(rows, outputs) == 1
