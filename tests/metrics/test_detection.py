"""Average precision by hand, and matching that takes a true box away."""

import numpy as np
import pytest

from dlcore.metrics.detection import average_precision, cardinality_error, match_detections, precision_recall_curve

FLAGS, SCORES = [True, True, False, False, True], [0.9, 0.8, 0.7, 0.6, 0.5]


@pytest.mark.covers("ME-03")
def test_average_precision_by_hand():
    # Precision 1, 1, 2/3, 2/4, 3/5 at recall 1/3, 2/3, 2/3, 2/3, 1; the best at recall 1 is 3/5: (1 + 1 + 0.6) / 3.
    precision, recall = precision_recall_curve(np.array(FLAGS), np.array(SCORES), 3)
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 1 / 2, 3 / 5])
    np.testing.assert_allclose(recall, np.array([1, 2, 2, 2, 3]) / 3)
    assert average_precision(np.array(FLAGS), np.array(SCORES), 3) == pytest.approx(0.866667, abs=1e-6)
    order = [3, 0, 4, 2, 1]
    shuffled = average_precision(np.array(FLAGS)[order], np.array(SCORES)[order], 3)
    assert shuffled == pytest.approx(0.866667, abs=1e-6)  # the scores order, not the rows


@pytest.mark.covers("ME-03")
def test_each_true_box_is_found_once_and_by_the_surest():
    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10]])
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 4], [0, 0, 10, 10]])
    scores = np.array([0.5, 0.9, 0.8, 0.2])
    # The second takes the first true box, though the third row comes earlier than others of lower score; the third
    # overlaps its box by 0.4 only; the rest find nothing left.
    np.testing.assert_array_equal(match_detections(boxes, scores, truth), [False, True, False, False])
    np.testing.assert_array_equal(match_detections(boxes, scores, truth, 0.3), [False, True, True, False])
    half = np.array([[0, 0, 10, 5]])
    assert not match_detections(half, np.ones(1), truth).any()  # an overlap of 0.5 is not above 0.5


def test_ends():
    assert average_precision(np.zeros(0, bool), np.zeros(0), 4) == 0
    assert average_precision(np.ones(4, bool), np.arange(4.0), 4) == 1
    assert not match_detections(np.ones((2, 4)), np.ones(2), np.zeros((0, 4))).any()
    with pytest.raises(ValueError, match="num_truth=1: below the 2 correct detections; allowed: at least 2"):
        average_precision(np.ones(2, bool), np.ones(2), 1)


@pytest.mark.covers("ME-03")
def test_one_true_box_and_boxes_that_touch_at_most():
    assert average_precision(np.array([True]), np.array([0.3]), 1) == 1
    truth = np.array([[0, 0, 1, 1]])
    apart = np.array([[1, 0, 2, 1], [0.5, 2, 1.5, 3], [-3, -3, -2, -2]])
    point = np.array([[1.0, 1, 1, 1]])
    assert not match_detections(point, np.ones(1), point, threshold=0.0).any(), "what has no area overlaps nothing"
    assert not match_detections(apart, np.ones(3), truth, threshold=0.0).any()


def test_of_equal_scores_the_earlier_goes_first():
    """Of 60 detections of one box the even ones have the higher score."""
    scores = np.array([0.9, 0.3] * 30)
    boxes = np.tile([[0.0, 0, 1, 1]], (60, 1))
    np.testing.assert_array_equal(match_detections(boxes, scores, boxes[:3]).nonzero()[0], [0, 2, 4])
    correct = np.arange(60) < 20
    order = [*range(0, 60, 2), *range(1, 60, 2)]
    precision, recall = precision_recall_curve(correct, scores, 20)
    np.testing.assert_allclose(precision, np.cumsum(correct[order]) / np.arange(1, 61))
    np.testing.assert_allclose(recall, np.cumsum(correct[order]) / 20)


def test_the_cardinality_error_counts_queries_that_predict_an_object():
    # Of three queries two predict a class and one "no object", the last; one true box: off by one, either way alike.
    logits = np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 0, 1], [0, 0, 1]]], np.float32)
    valid = np.array([[True, False], [True, False]])
    error = cardinality_error(logits, valid)
    np.testing.assert_array_equal(error, [1, 1])
    assert error.dtype == np.int32
    # Three objects where the queries predict two; NaN in a query, also beside a class, counts as no object.
    logits[0, 0, 2] = np.nan
    np.testing.assert_array_equal(cardinality_error(logits, np.array([[True] * 3, [False] * 3])), [2, 0])


def test_unsigned_scores_rank_as_numbers():
    # From the highest score down: right (9), wrong (5), wrong (0): precision 1, 1/2, 1/3.
    precision, _ = precision_recall_curve(np.array([False, True, False]), np.array([0, 9, 5], np.uint8), 1)
    np.testing.assert_allclose(precision, [1, 1 / 2, 1 / 3])
