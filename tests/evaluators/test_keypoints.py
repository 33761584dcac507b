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
