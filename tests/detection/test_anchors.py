"""Locations and anchors by hand and against torchvision; matching, ties, padding and boxes without area."""

import json
from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.anchors import Anchors, Grid, best_possible_recall, match_anchors
from dlcore.ops.boxes import box_iou

GOLDENS = Path(__file__).parents[1] / "goldens"
GOLDEN = np.load(GOLDENS / "tvops_boxes.npz")
CASES = {k: v["args"] for k, v in json.loads(str(GOLDEN["meta"]))["cases"].items() if k.startswith("matcher")}


@pytest.mark.covers("DE-20")
def test_locations_of_strides_8_to_128():
    # P3 to P7 of a 256 x 128 image; the farthest side is in (0, 64], (64, 128], (128, 256], (256, 512], (512, inf).
    sizes = [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    grid = Grid.of(sizes, (256, 128))
    assert grid.counts == (512, 128, 32, 8, 2)
    first = np.cumsum((0, *grid.counts[:-1]))
    np.testing.assert_array_equal(grid.strides[first], [8, 16, 32, 64, 128])
    lower, upper = grid.bounds(8.0)
    np.testing.assert_array_equal(lower[first], [0, 64, 128, 256, 512])
    np.testing.assert_array_equal(upper[first], [64, 128, 256, 512, np.inf])
    np.testing.assert_array_equal(grid.points[:3], [[0, 0], [8, 0], [16, 0]])
    np.testing.assert_array_equal(grid.points[16], [0, 8])  # the second row
    np.testing.assert_array_equal(grid.points[-1], [0, 128])


def test_an_image_that_the_strides_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="100x128"):
        Grid.of([(13, 16)], (100, 128))


def test_anchors_by_hand():
    anchors = Anchors.of([(2, 2), (1, 1)], (32, 32), scales=(1.0, 2.0), aspect_ratios=(1.0, 4.0))
    assert anchors.counts == (16, 4)
    chex.assert_shape(anchors.boxes, (20, 4))
    # At (16, 0), the second location of stride 16: sides 16 and 32, then half as wide and twice as high.
    want = [[8, -8, 24, 8], [0, -16, 32, 16], [12, -16, 20, 16], [8, -32, 24, 32]]
    np.testing.assert_array_equal(anchors.boxes[4:8], want)
    np.testing.assert_array_equal(anchors.boxes[16], [-16, -16, 16, 16])  # stride 32


@pytest.mark.parametrize("name", ["scales", "aspect_ratios"])
def test_anchors_without_a_size_are_refused(name):
    for wrong in ((), (1.0, 0.0)):
        with pytest.raises(ValueError, match=name):
            Anchors.of([(2, 2)], (32, 32), **{name: wrong})


def test_anchors_are_retinanets():
    golden = np.load(GOLDENS / "tvdet_retinanet_resnet50_fpn.npz")
    meta = json.loads(str(golden["meta"]))
    anchors = Anchors.of([(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)], (128, 160))
    stored = meta["outputs"]["anchors"]
    assert list(anchors.boxes.shape) == stored["shape"]
    np.testing.assert_array_equal(anchors.boxes.reshape(-1)[:: stored["stride"]], golden["anchors"].reshape(-1))


@pytest.mark.slow(unless=["matcher.0.5.0.4.0"])
@pytest.mark.covers("DE-22")
@pytest.mark.parametrize("case", CASES)
def test_it_equals_torchvision(case):
    settings = CASES[case]
    iou = box_iou(GOLDEN[f"{case}/in.gt"], GOLDEN[f"{case}/in.anchors"])
    low_quality = settings["allow_low_quality_matches"]
    matched = match_anchors(iou, settings["high"], settings["low"], allow_low_quality_matches=low_quality)
    np.testing.assert_array_equal(matched, GOLDEN[f"{case}/out"])


@pytest.mark.covers("DE-22")
def test_thresholds_by_hand():
    # Best overlaps 0.29, 0.3, 0.49, 0.5 and 0.9 with low 0.3 and high 0.5; the ends belong to the upper side.
    iou = jnp.array([[0.29, 0.30, 0.10, 0.50, 0.2], [0.0, 0.0, 0.49, 0.1, 0.9]])
    np.testing.assert_array_equal(match_anchors(iou, 0.5, 0.3), [-1, -2, -2, 0, 1])


def test_ties_go_to_the_first_box_and_the_best_anchors_of_a_box_are_kept():
    iou = jnp.array([[0.6, 0.2, 0.2, 0.0], [0.6, 0.1, 0.0, 0.0]])
    np.testing.assert_array_equal(match_anchors(iou), [0, -1, -1, -1])
    # The second box's best anchor is the first, which overlaps the first box as much: it stays with that.
    np.testing.assert_array_equal(match_anchors(iou, allow_low_quality_matches=True), [0, -1, -1, -1])
    low = jnp.array([[0.2, 0.2, 0.1]])
    np.testing.assert_array_equal(match_anchors(low, allow_low_quality_matches=True), [0, 0, -1])  # both that are best


@pytest.mark.slow
def test_padding_and_boxes_without_area_match_nothing():
    anchors = jnp.array([[0.0, 0, 4, 4], [8, 8, 12, 12]])
    boxes = jnp.array([[2.0, 2, 2, 2], [0, 0, 4, 4], [8, 8, 12, 12]])
    iou = box_iou(boxes, anchors)
    matched = match_anchors(iou, allow_low_quality_matches=True, valid=jnp.array([True, True, False]))
    np.testing.assert_array_equal(matched, [1, -1])
    np.testing.assert_array_equal(
        match_anchors(iou, allow_low_quality_matches=True, valid=jnp.zeros(3, bool)), [-1, -1]
    )


@pytest.mark.covers("DE-14")
def test_the_best_that_anchors_can_do():
    anchors = np.array([[0, 0, 10, 10], [0, 0, 20, 20]], np.float32)
    # .5 of the first; a shifted one; the second itself; padding.
    boxes = np.array([[[0, 0, 10, 5], [10, 10, 30, 30]], [[0, 0, 20, 20], [0, 0, 1, 1]]], np.float32)
    recall, mean = best_possible_recall(anchors, boxes, np.array([[1, 1], [1, 0]]))
    assert recall == pytest.approx(2 / 3)
    assert mean == pytest.approx((0.5 + 100 / 700 + 1) / 3)  # 10 x 10 shared of 400 + 400 - 100
    assert best_possible_recall(anchors, boxes, np.array([[1, 1], [1, 0]]), 0.51)[0] == pytest.approx(1 / 3)
    assert np.isnan(best_possible_recall(anchors, boxes, np.zeros((2, 2)))).all()
    # More boxes than are compared at a time: all are the first anchor, whose IoU with the second one is 1/4.
    many = np.repeat(anchors[None, :1], 1100, 1)
    assert best_possible_recall(anchors[1:], many, np.ones((1, 1100))) == (0, pytest.approx(1 / 4))
    assert best_possible_recall(anchors, many, np.ones((1, 1100))) == (1, 1)
