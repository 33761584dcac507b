"""Positive, negative and neutral anchors by hand and against torchvision; ties, padding and boxes without area."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.matching import match_anchors
from dlcore.ops.boxes import box_iou

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvops_boxes.npz")
CASES = {k: v["args"] for k, v in json.loads(str(GOLDEN["meta"]))["cases"].items() if k.startswith("matcher")}


@pytest.mark.covers("DE-22")
@pytest.mark.parametrize("case", CASES)
def test_it_equals_torchvision(case):
    settings = CASES[case]
    overlap = box_iou(GOLDEN[f"{case}/in.gt"], GOLDEN[f"{case}/in.anchors"])
    found = match_anchors(
        overlap, settings["high"], settings["low"], keep_best=settings["allow_low_quality_matches"]
    )  # fmt: skip
    np.testing.assert_array_equal(found, GOLDEN[f"{case}/out"])


@pytest.mark.covers("DE-22")
def test_thresholds_by_hand():
    # Best overlaps 0.29, 0.3, 0.49, 0.5 and 0.9 with low 0.3 and high 0.5; the ends belong to the upper side.
    overlap = jnp.array([[0.29, 0.30, 0.10, 0.50, 0.2], [0.0, 0.0, 0.49, 0.1, 0.9]])
    np.testing.assert_array_equal(match_anchors(overlap, 0.5, 0.3), [-1, -2, -2, 0, 1])


def test_ties_go_to_the_first_box_and_the_best_anchors_of_a_box_are_kept():
    overlap = jnp.array([[0.6, 0.2, 0.2, 0.0], [0.6, 0.1, 0.0, 0.0]])
    np.testing.assert_array_equal(match_anchors(overlap), [0, -1, -1, -1])
    # The second box's best anchor is the first, which overlaps the first box as much: it stays with that.
    np.testing.assert_array_equal(match_anchors(overlap, keep_best=True), [0, -1, -1, -1])
    low = jnp.array([[0.2, 0.2, 0.1]])
    np.testing.assert_array_equal(match_anchors(low, keep_best=True), [0, 0, -1])  # both that are best


def test_padding_and_boxes_without_area_take_nothing():
    anchors = jnp.array([[0.0, 0, 4, 4], [8, 8, 12, 12]])
    boxes = jnp.array([[2.0, 2, 2, 2], [0, 0, 4, 4], [8, 8, 12, 12]])
    overlap = box_iou(boxes, anchors)
    found = match_anchors(overlap, keep_best=True, valid=jnp.array([True, True, False]))
    np.testing.assert_array_equal(found, [1, -1])
    np.testing.assert_array_equal(match_anchors(overlap, keep_best=True, valid=jnp.zeros(3, bool)), [-1, -1])
