"""Masks, clicks, labels and settings of segmenters that do not fit: each is named before anything is computed."""

import jax
import numpy as np
import pytest

from dlcore.segmentation import mask_losses, mask_queries, panoptic, promptable
from dlcore.segmentation.clicks import (
    brightness_masks,
    color_masks,
    mask_iou,
    place_click,
    region_depth,
    simulate_clicks,
)
from dlcore.segmentation.everything import MaskFilter, filter_masks, stability_scores
from dlcore.segmentation.fcn import bilinear_kernel
from dlcore.segmentation.grabcut import grabcut, neighbor_weights
from dlcore.segmentation.maps import crop_to, enlarge, pad_to_multiple, score
from dlcore.segmentation.mask_losses import MaskLossWeights
from dlcore.segmentation.prompts import check_boxes, check_points
from dlcore.segmentation.sam import fourier_positions
from dlcore.segmentation.semantic import pixel_loss
from dlcore.segmentation.sliding_window import gaussian_window, window_starts
from dlcore.segmentation.torch_segmenters import create_segmenter
from dlcore.segmentation.unet_3d import pooling_strides
from dlcore.segmentation.volumes import OrganDice, learner, patch_start

KEY, NAN = jax.random.key(0), float("nan")
MASKS, LOGITS = np.ones((2, 4, 6), bool), np.zeros((2, 4, 6), np.float32)
IMAGES, CLICKS = np.zeros((2, 4, 6, 3), np.float32), np.zeros((2, 1, 2), np.float32)
KINDS, LABELS, VALID = np.ones((2, 1), int), np.array([0, 1]), np.array([True, True])
CLASS_LOGITS, MASK_LOGITS = np.zeros((3, 4), np.float32), np.zeros((4, 6, 3), np.float32)
SEMANTIC, SCORES = np.zeros((4, 6), np.uint8), np.float32([0.9, 0.8])
EDGES, PRICES = np.array([[0, 1], [1, 2]]), np.ones(2)
COLORS, SALIENCY = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6))
VOLUMES, RNG = np.zeros((1, 2, 4, 4), int), np.random.default_rng(0)
POINTS, LIMITS = np.zeros((1, 1, 1, 2)), np.array([[6, 4]])
PIXELS, PIXEL_LABELS = {"out": IMAGES}, np.zeros((2, 4, 6), int)
MAPS = np.zeros((2, 1, 1, 4), np.float32)


def merge(masks=MASKS, scores=SCORES, labels=LABELS, valid=VALID, semantic=SEMANTIC, num_stuff=1, **settings):
    return panoptic.merge(masks, scores, labels, valid, semantic, num_stuff, **settings)


def targets(masks=MASKS, labels=LABELS, valid=VALID, semantic=SEMANTIC, num_stuff=1):
    return panoptic.target_segments(masks, labels, valid, semantic, num_stuff)


def image_losses(labels=LABELS, masks=MASKS, **settings):
    inputs = CLASS_LOGITS[None], MASK_LOGITS[None], masks, labels, VALID, KEY
    return mask_losses.image_losses(*inputs, **settings)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"regions\[0, 0\]=nan", lambda: region_depth(np.full((4, 6), NAN))),
        ("targets=.*wrong shape", lambda: place_click(MASKS, MASKS[:1])),
        ("keys=.*wrong shape", lambda: place_click(MASKS, MASKS, jax.random.split(KEY, 3))),
        ("num_clicks=0", lambda: simulate_clicks(None, MASKS, 0)),
        ("prompt labels=.*wrong shape", lambda: simulate_clicks(None, MASKS, 1, prompt=(CLICKS, KINDS[:1]))),
        ("targets=.*wrong shape", lambda: mask_iou(MASKS, MASKS[:1])),
        (r"masks\[0, 0, 0\]=-1", lambda: mask_iou(MASKS.astype(int) - 2, MASKS)),
        (r"points x\[0, 0\]=7: out of range; allowed: 0 to 5, of 6 columns", lambda: color_masks(*far_clicks(7, 0))),
        (r"points y\[0, 0\]=-1", lambda: brightness_masks(*far_clicks(0, -1))),
        ("threshold=nan", lambda: color_masks(IMAGES, CLICKS, KINDS, NAN)),
        ("threshold=.*wrong shape", lambda: color_masks(IMAGES, CLICKS, KINDS, np.ones(3))),
        ("labels=.*wrong shape", lambda: brightness_masks(IMAGES, CLICKS, KINDS[0], 0.5)),
        ("image.dtype=int64", lambda: grabcut(COLORS.astype(np.int64), SALIENCY)),
        (r"saliency\[0, 0\]=nan", lambda: grabcut(COLORS, SALIENCY * NAN)),
        ("components=1.5", lambda: grabcut(COLORS, SALIENCY, components=1.5)),
        ("iterations=nan", lambda: grabcut(COLORS, SALIENCY, iterations=NAN)),
        ("seed=-1", lambda: grabcut(COLORS, SALIENCY, seed=-1)),
        ("no neighbors", lambda: neighbor_weights(IMAGES[0, :1, :1], 1.0)),
        (r"logits\[0, 0, 0\]=nan", lambda: stability_scores(LOGITS * NAN)),
        ("example: no image", lambda: mask_queries.true_masks({}, 1)),
        ("example: no labels, box_mask", lambda: mask_queries.true_masks({"image": IMAGES[0], "masks": MASKS}, 1)),
        ("class_names='abc': a word", lambda: panoptic.panoptic_evaluator("abc", 1)),
        (r"labels\[0, 0, 0\]=7", lambda: pixel_loss(PIXELS, PIXEL_LABELS + 7, MASKS)),
        ("sigma='0.2'", lambda: gaussian_window((2, 2, 2), "0.2")),
        ("offset=-1", lambda: stability_scores(LOGITS, -1.0)),
        ("iou=.*wrong shape", lambda: filter_masks(LOGITS, SCORES[:1], MaskFilter())),
        ("filters.pred_iou_thresh=2", lambda: filter_masks(LOGITS, SCORES, MaskFilter(pred_iou_thresh=2.0))),
        ("filters.masks_per_img=0", lambda: filter_masks(LOGITS, SCORES, MaskFilter(masks_per_img=0))),
        (r"shape=\(8, 8, 2\)", lambda: bilinear_kernel(KEY, (8, 8, 2))),
        ("taps are unequal or odd", lambda: bilinear_kernel(KEY, (8, 6, 2, 2))),
        ("multiple=0", lambda: pad_to_multiple(IMAGES, 0)),
        ("x=.*wrong shape", lambda: pad_to_multiple(IMAGES[0], 8)),
        (r"size=\(5, 6\): larger", lambda: crop_to(IMAGES, (5, 6))),
        (r"size=\(-1, 6\): no size", lambda: crop_to(IMAGES, (-1, 6))),
        (r"size=\(4,\): no size", lambda: enlarge(IMAGES, (4,))),
        ("num_classes=0", lambda: score(0, "head", IMAGES)),
        ("mask_logits=.*wrong shape", lambda: mask_queries.semantic_scores(CLASS_LOGITS, MASK_LOGITS[..., :1])),
        ("num_stuff=4: too large", lambda: mask_queries.instance_detections(CLASS_LOGITS, MASK_LOGITS, 4, 2)),
        ("detections_per_img=0", lambda: mask_queries.instance_detections(CLASS_LOGITS, MASK_LOGITS, 1, 0)),
        ("num_stuff=-1", lambda: mask_queries.panoptic_segments(CLASS_LOGITS, MASK_LOGITS, -1)),
        ("score_thresh=nan", lambda: mask_queries.panoptic_segments(CLASS_LOGITS, MASK_LOGITS, 1, NAN)),
        ("min_visible=2", lambda: mask_queries.panoptic_segments(CLASS_LOGITS, MASK_LOGITS, 1, 0.5, 2.0)),
        ("num_stuff=1.5", lambda: mask_queries.true_masks({"image": IMAGES[0]}, 1.5)),
        ("num_stuff=nan", lambda: mask_queries.learner(model=None, optimizer=None, num_stuff=NAN)),
        (r"labels\[1\]=7: out of range; allowed: 0 to 2", lambda: image_losses(np.array([0, 7]))),
        ("labels=.*wrong shape", lambda: image_losses(masks=MASKS[:1])),
        ("dice_weight=-1", lambda: image_losses(weights=MaskLossWeights(dice_weight=-1.0))),
        ("scores=.*wrong shape", lambda: merge(scores=SCORES[:1])),
        (r"scores\[0\]=nan", lambda: merge(scores=SCORES * NAN)),
        (r"labels\[0\]=-1", lambda: merge(labels=LABELS - 1)),
        ("semantic=.*wrong shape or dtype", lambda: merge(semantic=SEMANTIC + 0.5)),
        ("num_stuff=1.5", lambda: merge(num_stuff=1.5)),
        ("score_thresh=2", lambda: merge(score_thresh=2.0)),
        ("min_visible=nan", lambda: merge(min_visible=NAN)),
        ("min_stuff=-1", lambda: merge(min_stuff=-1)),
        (r"semantic\[0, 0\]=-7", lambda: targets(semantic=SEMANTIC - np.int64(7))),
        ("labels=.*wrong shape", lambda: targets(masks=MASKS[:1])),
        (r"semantic\[0, 0\]=-7", lambda: panoptic.components(SEMANTIC - np.int64(7), 1)),
        ("semantic=.*wrong shape", lambda: panoptic.components(SEMANTIC[None], 1)),
        ("num_stuff=-1", lambda: panoptic.components(SEMANTIC, -1)),
        ("room=3.5", lambda: panoptic.components(SEMANTIC, 1, 3.5)),
        ("num_stuff=-1", lambda: panoptic.learner(instances=None, semantic=None, num_stuff=-1)),
        ("num_stuff=3: too large", lambda: panoptic.panoptic_evaluator(("sky", "cat"), 3)),
        ("focal_weight=-1", lambda: promptable.mask_losses(LOGITS, MASKS, -1.0)),
        ("targets=.*wrong shape", lambda: promptable.mask_losses(LOGITS, MASKS[:1])),
        ("count=3: too many", lambda: promptable.sample_objects(KEY, VALID, 3)),
        ("count=0", lambda: promptable.sample_objects(KEY, VALID, 0)),
        ("has_box=.*wrong shape", lambda: promptable.box_prompt(MASKS, VALID[:1])),
        ("num_clicks=0", lambda: promptable.prompt_losses(None, None, MAPS, MASKS, VALID, 0)),
        ("dice_weight=nan", lambda: promptable.prompt_losses(None, None, MAPS, MASKS, VALID, 1, dice_weight=NAN)),
        ("input_points=.*wrong shape", lambda: check_points(POINTS[0], None, LIMITS, "input_")),
        ("limits=.*wrong shape", lambda: check_points(POINTS, None, LIMITS[:0])),
        ("boxes=.*wrong shape", lambda: check_boxes(np.zeros((1, 1, 3)), LIMITS)),
        ("frequencies=.*wrong shape", lambda: fourier_positions(CLICKS, np.ones((1, 4)))),
        (r"window=\(3.5, 3, 1\)", lambda: gaussian_window((3.5, 3, 1))),
        ("does not fit a volume", lambda: window_starts((2.5, 2, 2), (1, 1, 1))),
        ("num_classes=1: too small", lambda: OrganDice.of(VOLUMES, VOLUMES, VOLUMES == 0, 1)),
        (r"labels\[0, 0, 0, 0\]=7", lambda: OrganDice.of(VOLUMES, VOLUMES + 7, VOLUMES == 0, 3)),
        ("labels=.*wrong shape", lambda: OrganDice.of(VOLUMES, VOLUMES[:, :1], VOLUMES == 0, 3)),
        ("foreground=2", lambda: patch_start(KEY, VOLUMES[0], (1, 2, 2), 3, 2.0)),
        ("window=.*does not fit", lambda: patch_start(KEY, VOLUMES[0], (3, 2, 2), 3, 0.5)),
        (r"window\[0\]=-1: out of range", lambda: learner(model=None, optimizer=None, window=(-1, 2, 2))),
        ("overlap='jaccard'", lambda: pixel_loss(PIXELS, PIXEL_LABELS, MASKS, overlap="jaccard")),
        ("outputs: aux; allowed", lambda: pixel_loss({"aux": IMAGES}, PIXEL_LABELS, MASKS)),
        ("labels=.*wrong shape", lambda: pixel_loss(PIXELS, PIXEL_LABELS[:1], MASKS)),
        ("class_weights=.*wrong shape", lambda: pixel_loss(PIXELS, PIXEL_LABELS, MASKS, np.ones(2))),
        (r"class_weights\[0\]=-1", lambda: pixel_loss(PIXELS, PIXEL_LABELS, MASKS, -np.ones(3))),
        ("overlap_weight=-1", lambda: pixel_loss(PIXELS, PIXEL_LABELS, MASKS, overlap_weight=-1.0)),
        ("auxiliary_weight=nan", lambda: pixel_loss(PIXELS, PIXEL_LABELS, MASKS, auxiliary_weight=NAN)),
        ("num_classes=-1", lambda: create_segmenter("fcn_resnet50", -1)),
        ("levels=3.5", lambda: pooling_strides((1, 1, 1), 3.5)),
    ],
)
def test_an_argument_that_does_not_fit_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def far_clicks(x, y):
    return IMAGES, np.broadcast_to(np.float32([x, y]), (2, 1, 2)), KINDS, 0.5


def test_masks_of_bytes_count_as_masks_of_bools():
    """The IoU of masks of 0 and 255 is that of bools; a click that does not count may be outside the image."""
    masks = MASKS.copy()
    masks[:, :, 3:] = False
    found, truth = masks.astype(np.uint8) * 255, MASKS.astype(np.uint8) * 255
    np.testing.assert_allclose(mask_iou(found, truth), [0.5, 0.5])
    images, points, kinds, threshold = far_clicks(70, 0)
    assert not color_masks(images, points, kinds - 3, threshold).any()
