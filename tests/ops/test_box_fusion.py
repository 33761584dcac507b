"""Soft-NMS, weighted boxes fusion and a detector's views, each by hand; and AP with and without fusion."""

import chex
import jax
import numpy as np
import pytest

from dlcore.metrics.detection import average_precision, match_detections
from dlcore.ops.box_fusion import (
    BoxClusters,
    DetectorView,
    boxes_of_view,
    fuse_views,
    image_view,
    soft_nms,
    weighted_boxes_fusion,
)
from dlcore.ops.boxes import masks_to_boxes

# IoU of 0 and 1: 60 / 100; of 1 and 2: 20 / 80; of 0 and 2: 20 / 100; the last is apart.
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 4, 10, 6], [50, 50, 60, 60]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0.3], np.float32)
soften, fuse = jax.jit(soft_nms, static_argnames="decay"), jax.jit(weighted_boxes_fusion)


@pytest.mark.covers("DE-37")
def test_soft_nms_by_hand():
    """Box 0 lowers box 1 to 0.8 (1 - 0.6) = 0.32, and not box 2 (0.2 is not above 0.3); box 2 then comes before box 1.

    IoU of 1 and 2 is 20 / 60 = 1/3: box 1 falls to 0.32 * 2/3.
    """
    np.testing.assert_allclose(soften(BOXES, SCORES, decay="linear"), [0.9, 0.32 * 2 / 3, 0.7, 0.3], rtol=1e-6)
    # Gaussian, sigma = 0.5: box 2 falls to 0.7 e^(-0.04 / 0.5) = 0.646, box 1 to 0.8 e^(-0.72) = 0.389, then by box 2.
    expected = [0.9, 0.8 * np.exp(-0.72 - 2 / 9), 0.7 * np.exp(-0.08), 0.3]
    np.testing.assert_allclose(soften(BOXES, SCORES), expected, rtol=1e-6)


@pytest.mark.covers("DE-37")
def test_soft_nms_leaves_other_groups_and_padding_alone():
    groups, valid = np.array([0, 1, 1, 0]), np.array([True, True, False, True])
    np.testing.assert_allclose(soften(BOXES, SCORES, groups=groups, valid=valid), [0.9, 0.8, 0, 0.3], rtol=1e-6)


@pytest.mark.covers("DE-37")
def test_fusion_by_hand():
    """Boxes 0 and 1 fuse (0.6 > 0.55): y1 = (0.9 * 10 + 0.8 * 6) / 1.7; score 0.85 * 2/2. The others have 1/2.

    Box 2 has IoU 20 / 81.2 with the fused box.
    """
    clusters = fuse(BOXES, SCORES, 2)
    np.testing.assert_array_equal(clusters.valid, [True, True, True, False])
    np.testing.assert_allclose(clusters.boxes[0], [0, 0, 10, 13.8 / 1.7], rtol=1e-6)
    np.testing.assert_allclose(clusters.boxes[1:], [BOXES[2], BOXES[3], [0] * 4], rtol=1e-6)
    np.testing.assert_allclose(clusters.scores, [0.85, 0.35, 0.15, 0], rtol=1e-6)
    # More boxes than views raise no score; another class is another cluster; padding joins none.
    np.testing.assert_allclose(fuse(BOXES, SCORES, 1).scores, [0.85, 0.7, 0.3, 0], rtol=1e-6)
    groups, valid = np.array([3, 5, 5, 5]), np.array([True, True, True, False])
    clusters = fuse(BOXES, SCORES, 2, groups=groups, valid=valid)
    np.testing.assert_allclose(clusters.scores, [0.45, 0.4, 0.35, 0], rtol=1e-6)
    np.testing.assert_array_equal(clusters.groups, [3, 5, 5, 0])
    # Scores of 0 weigh alike; far from 0 the mean keeps float32's digits.
    far = np.float32(BOXES[:2] + 2**20)
    clusters = fuse(far, np.zeros(2), 2)
    np.testing.assert_array_equal(clusters.boxes, [[2**20, 2**20, 2**20 + 10, 2**20 + 8], [0] * 4])


@pytest.mark.covers("DE-37")
def test_boxes_of_a_flipped_and_enlarged_view_return_to_the_image():
    """A view of twice the size: (4, 6, 10, 12) is (2, 3, 5, 6); flipped in a width of 16, x is 11 to 14."""
    view = DetectorView(2.0, True)
    np.testing.assert_allclose(boxes_of_view(np.array([4.0, 6, 10, 12]), view, (8, 16)), [11, 3, 14, 6])
    image = np.zeros((8, 16, 1), np.float32)
    image[3:6, 11:14] = 1
    for view in (DetectorView(1.0, True), DetectorView(2.0, True)):
        box = masks_to_boxes(image_view(image, view)[..., 0] > 0.5)
        np.testing.assert_allclose(boxes_of_view(box, view, (8, 16)), [11, 3, 14, 6])


@pytest.mark.covers("DE-37")
def test_fused_views_have_a_higher_ap_than_each_view():
    """Errors of 8 % of the sides; the mean of four views has half of them. A false alarm is in one view only."""
    rng = np.random.default_rng(0)
    corner = 40.0 * np.arange(12)[:, None] * [1, 0]
    targets = np.concatenate([corner, corner + 20], -1)
    views, size = [DetectorView(s, f) for s in (1.0, 2.0) for f in (False, True)], (20, 480)
    detections, single = [], []
    for number, view in enumerate(views):
        alarm = [[100 + 90 * number, 0, 130 + 90 * number, 20]]
        boxes, scores = np.concatenate([targets + rng.normal(0, 1.6, (12, 4)), alarm]), rng.uniform(0.5, 0.9, 13)
        single.append(ap(boxes, scores, targets))
        if view.flip:
            boxes = np.stack([480 - boxes[:, 2], boxes[:, 1], 480 - boxes[:, 0], boxes[:, 3]], -1)
        boxes = boxes.astype(np.float32) * view.scale
        detections.append(BoxClusters(boxes, scores.astype(np.float32), np.zeros(13, int), np.ones(13, bool)))
    fused = jax.tree.map(np.asarray, jax.jit(lambda by_view: fuse_views(by_view, views, size))(detections))
    assert ap(fused.boxes[fused.valid], fused.scores[fused.valid], targets) > max(single) + 0.02


def ap(boxes, scores, targets):
    return average_precision(match_detections(boxes, scores, targets, 0.75), scores, len(targets))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"scale=0.01: no pixel of \(8, 16\) remains; allowed: above 0"):
        image_view(np.zeros((8, 16, 3)), DetectorView(0.01))


HALVES = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 4]], np.float32)
"""IoU of 0 and 1: 8 / 16; 0 and 2 are equal."""


def test_an_overlap_of_the_threshold_changes_nothing():
    scores = np.float32([1, 0.5, 0])
    np.testing.assert_allclose(soften(HALVES, scores, decay="linear", iou_threshold=0.5), [1, 0.5, 0])
    np.testing.assert_allclose(soften(HALVES, scores, decay="linear", iou_threshold=0.49), [1, 0.25, 0])
    # A mean of 1 and 0.5 of the boxes 0 and 1: y1 = (4 + 2 / 2) / 1.5; box 2 has no weight.
    for threshold, want in ((0.5, [1 / 2, 0.5 / 2, 0]), (0.49, [0.5, 0, 0])):
        clusters = fuse(HALVES, scores, 2, iou_threshold=threshold)
        np.testing.assert_allclose(clusters.scores, want, rtol=1e-6)
        np.testing.assert_allclose(clusters.boxes[0], [0, 0, 4, 4 if threshold == 0.5 else 10 / 3], rtol=1e-6)


def test_of_equal_scores_the_earlier_box_is_first():
    """Linear: 1 - 1 = 0 is left of the later of equal boxes; other groups keep theirs, whatever padding holds."""
    scores = np.float32([0.8, 0.2, 0.8])
    np.testing.assert_allclose(soften(HALVES, scores, decay="linear", groups=np.array([4, 7, 4])), [0.8, 0.2, 0])
    np.testing.assert_allclose(soften(HALVES, scores, decay="linear", groups=np.array([4, 7, 5])), [0.8, 0.2, 0.8])
    padding = np.float32([7, 0.2, 0.8])
    valid = np.array([False, True, True])
    np.testing.assert_allclose(soften(HALVES, padding, decay="linear", valid=valid), [0, 0.1, 0.8], rtol=1e-6)
    clusters = fuse(HALVES, padding, 1, valid=valid)
    np.testing.assert_allclose(clusters.scores, [0.8, 0.2, 0], rtol=1e-6)
    np.testing.assert_array_equal(clusters.boxes, [HALVES[2], HALVES[1], [0] * 4])


def test_a_box_joins_the_cluster_that_it_overlaps_most():
    """Of 10 wide boxes at 0 and 4 (IoU 6 / 14) the one at 3 shares 7 / 13 and 9 / 11; it moves the second."""
    boxes = np.float32([[0, 0, 10, 1], [4, 0, 14, 1], [3, 0, 13, 1]])
    clusters = fuse(boxes, np.float32([0.9, 0.6, 0.2]), 3, iou_threshold=0.5)
    second = (0.6 * 4 + 0.2 * 3) / 0.8
    np.testing.assert_allclose(clusters.boxes, [boxes[0], [second, 0, second + 10, 1], [0] * 4], rtol=1e-6)
    np.testing.assert_allclose(clusters.scores, [0.9 / 3, 0.4 * 2 / 3, 0], rtol=1e-6)
    np.testing.assert_array_equal(clusters.valid, [True, True, False])


def test_views_have_whole_pixels():
    """Half of 5 x 7 is 2 x 4 pixels: rows stretch by 5 / 2, columns by 7 / 4."""
    view = DetectorView(0.5)
    chex.assert_shape(jax.eval_shape(lambda: image_view(np.zeros((3, 5, 7, 2), np.float32), view)), (3, 2, 4, 2))
    views = view, DetectorView(0.5, True), DetectorView()
    boxes = jax.jit(lambda boxes: [boxes_of_view(boxes, view, (5, 7)) for view in views])(np.float32([[1, 1, 4, 2]]))
    np.testing.assert_allclose(np.concatenate(boxes), [[1.75, 2.5, 7, 5], [0, 2.5, 5.25, 5], [1, 1, 4, 2]])
    some = BoxClusters(HALVES, np.float32([1, 0.5, 0]), np.array([2, 3, 2]), np.array([True, True, False]))
    fused = jax.jit(lambda detections: fuse_views(detections, [DetectorView()], (5, 7), 0.3))([some])
    np.testing.assert_array_equal(fused.groups, [2, 3, 0])
    np.testing.assert_allclose(fused.scores, [1, 0.5, 0])


def test_a_smaller_view_is_smoothed():
    """Half of four columns, mirrored: around 1 columns 0, 1, 2 weigh .75, .75, .25; around 3 column 0 weighs 0."""
    image = np.zeros((4, 4, 1), np.float32)
    image[:, 0] = 7
    view = image_view(image, DetectorView(0.5, flip=True))
    np.testing.assert_allclose(view[..., 0], [[0, 7 * 0.75 / 1.75]] * 2, rtol=1e-6)
