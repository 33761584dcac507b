"""Each kind of error, by boxes written for it."""

import numpy as np
import pytest

from dlcore.metrics.detection_errors import KINDS, detection_errors


def padded(rows, size=4):
    """Rows of (box, label, score) as arrays of one image."""
    count = len(rows)
    boxes = np.zeros((1, size, 4))
    labels, scores, valid = np.zeros((1, size), int), np.zeros((1, size)), np.zeros((1, size), bool)
    for k, (box, label, score) in enumerate(rows):
        boxes[0, k], labels[0, k], scores[0, k] = box, label, score
    valid[0, :count] = True
    return {"boxes": boxes, "labels": labels, "scores": scores, "valid": valid}


def counted(detections, truth, crowd=()):
    real = padded([(box, label, 1.0) for box, label in truth])
    real = {"boxes": real["boxes"], "labels": real["labels"], "box_mask": real["valid"]}
    if crowd:
        real["crowd"] = np.isin(np.arange(4), crowd)[None]
    counts = detection_errors(padded(detections), real, 2)
    return [{kind: int(n) for kind, n in zip(KINDS, row, strict=True) if n} for row in counts]


BOX, HALF, FAR = (0, 0, 10, 10), (0, 0, 10, 4), (50, 50, 60, 60)  # BOX and HALF: IoU 40 / 100


def test_a_match_and_a_second_one():
    """The surer detection takes the box, although the other comes first."""
    assert counted([(BOX, 0, 0.5), (BOX, 0, 0.9)], [(BOX, 0)]) == [{"right": 1, "duplicate": 1}, {}]
    assert counted([(BOX, 0, 0.5), (BOX, 0, 0.9)], [(BOX, 0), (BOX, 0)]) == [{"right": 2}, {}]


def test_the_other_kinds():
    assert counted([(BOX, 1, 0.9)], [(BOX, 0)]) == [{"missed": 1}, {"wrong class": 1}]
    assert counted([(HALF, 0, 0.9)], [(BOX, 0)]) == [{"poor box": 1, "missed": 1}, {}]
    assert counted([(HALF, 1, 0.9)], [(BOX, 0)]) == [{"missed": 1}, {"both": 1}]
    assert counted([(FAR, 0, 0.9)], [(BOX, 0)]) == [{"background": 1, "missed": 1}, {}]
    assert counted([(FAR, 1, 0.9)], []) == [{}, {"background": 1}]


def test_low_scores_do_not_count_and_crowds_neither():
    assert counted([(BOX, 0, 0.1)], [(BOX, 0)]) == [{"missed": 1}, {}]
    assert counted([(BOX, 0, 0.9)], [(BOX, 0)], crowd=[0]) == [{}, {}]


def test_images_can_be_counted_apart():
    two = {name: np.concatenate([value] * 2) for name, value in padded([(BOX, 0, 0.9), (FAR, 1, 0.9)]).items()}
    two["valid"][1, 1] = False
    real = {"boxes": two["boxes"], "labels": two["labels"], "box_mask": np.zeros((2, 4), bool)}
    real["box_mask"][:, 0] = True
    by_image = detection_errors(two, real, 2, by_image=True)
    assert by_image[:, 1, KINDS.index("background")].tolist() == [1, 0]
    assert by_image[:, 0, KINDS.index("right")].tolist() == [1, 1]
    np.testing.assert_array_equal(by_image.sum(0), detection_errors(two, real, 2))


def test_a_detection_inside_a_crowd_is_not_counted_as_by_coco():
    """(0, 0)-(4, 10) lies in the crowd (0, 0)-(10, 10): 1 of its area, though the IoU is .4; a true box goes first."""
    small = (0, 0, 4, 10)
    assert counted([(small, 0, 0.9)], [(BOX, 0)], crowd=[0]) == [{}, {}]
    assert counted([(small, 1, 0.9)], [(BOX, 0)], crowd=[0]) == [{}, {"background": 1}]
    assert counted([((8, 0, 18, 10), 0, 0.9)], [(BOX, 0)], crowd=[0]) == [{"background": 1}, {}]  # a fifth of it
    assert counted([(small, 0, 0.9)], [(BOX, 0), (small, 0)], crowd=[0]) == [{"right": 1}, {}]


def test_scores_and_overlaps_at_a_threshold_count():
    """BOX has an IoU of 1/2 with (0, 0)-(10, 5), and of 1/10 with (0, 0)-(10, 1)."""
    half, sliver = (0, 0, 10, 5), (0, 0, 10, 1)
    assert counted([(BOX, 0, 0.3)], [(BOX, 0)]) == [{"right": 1}, {}]
    assert counted([(half, 0, 0.9)], [(BOX, 0)]) == [{"right": 1}, {}]
    assert counted([(BOX, 0, 0.9), (half, 0, 0.8)], [(BOX, 0)]) == [{"right": 1, "duplicate": 1}, {}]
    assert counted([(half, 1, 0.9)], [(BOX, 0)]) == [{"missed": 1}, {"wrong class": 1}]
    assert counted([(sliver, 0, 0.9)], [(BOX, 0)]) == [{"poor box": 1, "missed": 1}, {}]


def test_of_a_poor_box_and_another_class_the_larger_overlap_decides():
    """HALF has an IoU of 0.4 with BOX and of 40 / 200 with (0, 0)-(10, 20); equal overlaps make it a poor box."""
    wide = (0, 0, 10, 20)
    assert counted([(HALF, 0, 0.9)], [(BOX, 0), (wide, 1)]) == [{"poor box": 1, "missed": 1}, {"missed": 1}]
    assert counted([(HALF, 0, 0.9)], [(BOX, 1), (wide, 0)]) == [{"both": 1, "missed": 1}, {"missed": 1}]
    assert counted([(HALF, 0, 0.9)], [(BOX, 1), (BOX, 0)]) == [{"poor box": 1, "missed": 1}, {"missed": 1}]


def test_bad_input_of_the_counts_is_named():
    found, real = padded([(BOX, 0, 0.9)]), padded([(BOX, 1, 1.0)])
    real = {"boxes": real["boxes"], "labels": real["labels"], "box_mask": real["valid"]}
    with pytest.raises(ValueError, match=r"background=0\.6: above foreground; allowed: at most foreground=0\.5"):
        detection_errors(found, real, 2, background=0.6)
    detection_errors(found, real, 2, background=0.5)
