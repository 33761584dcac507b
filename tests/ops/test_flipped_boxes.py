"""A box whose corners are exchanged has no area: functions that take boxes name it, where padding may hold anything."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, ops
from dlcore.data.augment.warp import flip_warp, warp_boxes
from dlcore.metrics.detection import match_detections
from dlcore.ops.checks import check_boxes
from dlcore.video.box_kalman import init_box_state, update_box_state

GOOD = jnp.array([[0.0, 0, 4, 4], [1, 1, 3, 3]])
FLIPPED = jnp.array([[0.0, 0, 4, 4], [3, 1, 1, 3]])
EMPTY = jnp.array([[0.0, 0, 4, 4], [3, 3, 3, 3]])
SCORES = jnp.array([0.9, 0.8])
IMAGE = jnp.ones((8, 8, 1))
OVERLAPS = (ops.box_iou, ops.generalized_box_iou, ops.distance_box_iou, ops.complete_box_iou, ops.paired_box_iou)

CALLS = {
    **{f"{f.__name__}-a": lambda boxes, f=f: f(boxes, GOOD) for f in OVERLAPS},
    **{f"{f.__name__}-b": lambda boxes, f=f: f(GOOD, boxes) for f in OVERLAPS},
    "encode_boxes-boxes": lambda boxes: ops.encode_boxes(boxes, GOOD),
    "encode_boxes-anchors": lambda boxes: ops.encode_boxes(GOOD, boxes),
    "decode_boxes-anchors": lambda boxes: ops.decode_boxes(jnp.zeros((2, 4)), boxes),
    "nms": lambda boxes: ops.nms(boxes, SCORES, 0.5),
    "soft_nms": lambda boxes: ops.soft_nms(boxes, SCORES),
    "weighted_boxes_fusion": lambda boxes: ops.weighted_boxes_fusion(boxes, SCORES),
    "roi_align": lambda boxes: ops.roi_align(IMAGE, boxes, 2),
    "roi_pool": lambda boxes: ops.roi_pool(IMAGE, boxes, 2),
    "multiscale_roi_align": lambda boxes: ops.multiscale_roi_align([IMAGE], boxes, 2, (1.0,), jnp.zeros(2, int)),
    "paste_masks": lambda boxes: ops.paste_masks(jnp.ones((2, 2, 2)), boxes, (8, 8)),
    "heatmaps_to_keypoints": lambda boxes: ops.heatmaps_to_keypoints(jnp.ones((2, 1, 2, 2)), boxes, (8, 8)),
    "warp_boxes": lambda boxes: warp_boxes(boxes, flip_warp((8, 8)), (8, 8)),
    "match_detections-boxes": lambda boxes: match_detections(boxes, SCORES, GOOD),
    "match_detections-truth": lambda boxes: match_detections(GOOD, SCORES, boxes),
    "init_box_state": init_box_state,
    "update_box_state": lambda boxes: update_box_state(init_box_state(GOOD), boxes),
    **{
        f"{name}_loss-targets": lambda boxes, name=name: getattr(losses, f"{name}_loss")(GOOD, boxes)
        for name in ("iou", "generalized_iou", "distance_iou", "complete_iou")
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_a_flipped_box_is_named(name):
    argument = name.partition("-")[2] or "boxes"
    with pytest.raises(
        ValueError, match=rf"^{argument}\[1\]=\[3(\.0)?, 1(\.0)?, 1(\.0)?, 3(\.0)?\]: flipped; allowed: x0 <= x1"
    ):
        CALLS[name](FLIPPED)


def test_an_empty_box_is_none():
    iou, kept = jax.jit(lambda boxes: (ops.box_iou(boxes, boxes), ops.nms(boxes, SCORES, 0.5)))(EMPTY)
    np.testing.assert_allclose(iou, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(kept, [True, True])
    check_boxes("boxes", EMPTY)


def test_padding_may_hold_anything():
    valid = jnp.array([True, False])

    @jax.jit
    def call(boxes):
        fused = ops.weighted_boxes_fusion(boxes, SCORES, valid=valid)
        return ops.nms(boxes, SCORES, 0.5, valid=valid), ops.soft_nms(boxes, SCORES, valid=valid), fused.valid

    for last in ([3, 1, 1, 3], [np.nan] * 4):
        padding = np.array([[0, 0, 4, 4], last], np.float32)
        kept, scores, fused = call(padding)
        np.testing.assert_array_equal(kept, valid)
        np.testing.assert_allclose(scores, [0.9, 0], rtol=1e-6)
        np.testing.assert_array_equal(fused, valid)
        # Values that are known while tracing are checked, but for the padding.
        for suppress in (functools.partial(ops.nms, iou_threshold=0.5), ops.soft_nms):
            jax.eval_shape(lambda padding=padding, suppress=suppress: suppress(padding, SCORES, valid=valid))
        with pytest.raises(ValueError, match=r"boxes\[1.*\]=.*(flipped|not finite)"):
            jax.eval_shape(lambda padding=padding: ops.nms(padding, SCORES, 0.5))
        check_boxes("boxes", padding, valid)
    np.testing.assert_array_equal(ops.weighted_boxes_fusion(FLIPPED, SCORES, valid=valid).valid, valid)


def test_inside_jit_a_flipped_box_has_no_area():
    np.testing.assert_allclose(jax.jit(ops.box_iou)(FLIPPED, GOOD)[1], [0, 0])
    np.testing.assert_allclose(ops.box_area(FLIPPED), [16, 0])
