"""Mean masks and keypoints by hand, and a measure of them in place of the predicted ones."""

import numpy as np

from dlcore.data.masks import pack_masks
from dlcore.evaluators.coco import coco_evaluator
from dlcore.evaluators.keypoints import pck_evaluator
from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints, mean_masks


def rows():
    """Two images with an object of class 0 in a box of 8 by 4: its left half, and all of it; padding beside."""
    masks = np.zeros((2, 2, 16, 16), bool)
    masks[0, 0, 2:6, 4:8] = masks[1, 0, 2:6, 4:12] = True
    keypoints = np.zeros((2, 2, 2, 3))
    keypoints[0, 0], keypoints[1, 0] = [[4, 2, 2], [12, 6, 1]], [[8, 2, 2], [0, 0, 0]]
    return {
        "image": np.zeros((2, 16, 16, 3), np.uint8),
        "masks": pack_masks(masks),
        "boxes": np.array([[[4.0, 2, 12, 6], [0, 0, 0, 0]]] * 2),
        "labels": np.array([[0, -1]] * 2),
        "box_mask": np.array([[True, False]] * 2),
        "keypoints": keypoints,
    }


def test_means_are_taken_in_the_frames_of_the_boxes():
    masks = mean_masks(rows(), 2, side=4)
    np.testing.assert_array_equal(masks[0], [[1, 1, 0.5, 0.5]] * 4)
    assert not masks[1].any()
    # The first keypoint at 0 and half of the width, the second, labeled once, in the corner.
    np.testing.assert_allclose(mean_keypoints(rows(), 2), [[[0.25, 0], [1, 1]], [[0.5, 0.5], [0.5, 0.5]]])


def test_detections_are_measured_with_them():
    real = rows()
    outputs = {
        "boxes": real["boxes"],
        "labels": real["labels"],
        "scores": np.array([[0.9, 0]] * 2),
        "valid": real["box_mask"],
        "masks": np.zeros((2, 2, 4, 4)),
        "keypoints": np.zeros((2, 2, 2, 2)),
    }
    left = np.zeros((1, 4, 4), np.float32)
    left[:, :, :2] = 1
    measure = evaluate_class_means(coco_evaluator(["a"], masks=True), {"mask_map50": "mean_mask_map50"}, masks=left)
    found = measure.finish(measure.add(None, outputs, real))
    # Right for the first; for the second of IoU 1/2, which is enough: all of one threshold.
    assert found == {"mean_mask_map50": 1.0}
    points = mean_keypoints(real, 1)
    measure = evaluate_class_means(pck_evaluator(("nose", "tail")), {"pck": "mean_keypoint_pck"}, keypoints=points)
    # Of box 8 wide within .8: the nose is off by 2 twice, the tail is right.
    assert measure.finish(measure.add(None, outputs, real)) == {"mean_keypoint_pck": 1 / 3}
    assert measure.names == ("mean_keypoint_pck",)
    assert not outputs["keypoints"].any()


def test_means_of_boxes_at_the_edges_of_a_wide_image():
    """Of 6 by 10 pixels; boxes that reach two pixels beyond the image repeat its edge.

    Columns 8 to 12 in halves are read at columns 9 and 11, the last at most 9; rows -2 to 2 at -1 and 1, the first at
    least 0. The mask of class 1 has rows 0 and 1 of column 9, that of class 0 columns 7 and 9 of row 5.
    """
    masks = np.zeros((1, 2, 6, 10), bool)
    masks[0, 0, 0, 9] = masks[0, 1, 5, [7, 9]] = True
    data = {
        "image": np.zeros((1, 6, 10, 3), np.uint8),
        "masks": pack_masks(masks),
        "boxes": np.array([[[8.0, -2, 12, 2], [6, 2, 10, 10]]]),
        "labels": np.array([[1, 0]]),
        "box_mask": np.ones((1, 2), int),
    }
    found = mean_masks(data, 3, side=2)
    np.testing.assert_array_equal(found, [[[0, 0], [1, 1]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]])
    assert found.dtype == np.float32
    assert mean_masks(data, 2).shape == (2, 28, 28)


def test_a_point_of_a_box_without_a_side_lies_at_its_corner():
    """Of three objects of a class two have the point labeled: (2, 0) in a box of no width, (3, 2) in one of 4 by 8."""
    data = {
        "boxes": np.array([[[2.0, 0, 2, 4], [1, 0, 5, 8], [0, 0, 1, 1]]]),
        "labels": np.array([[1, 1, 1]]),
        "box_mask": np.ones((1, 3), int),
        "keypoints": np.array([[[[2.0, 0, 1]], [[3, 2, 2]], [[9, 9, 0]]]]),
    }
    np.testing.assert_allclose(mean_keypoints(data, 2), [[[0.5, 0.5]], [[0.25, 0.125]]])
