"""Targets and losses of anchors by hand, mining, and the learner's corners: no box, no area, devices."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.detection import single_stage
from dlcore.detection.anchors import Anchors
from dlcore.detection.single_stage import Outputs, SingleStage, hardest, image_losses
from dlcore.ops.boxes import encode_boxes
from dlcore.run import Placement, fit, make_mesh
from tests.detection.detectors import SixAnchors, Small, check_mined_update, source
from tests.experiment.arguments import arguments_of

FOUR = Anchors(np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [40, 40, 48, 48]], np.float32), (4,))


def outputs(logits, anchors=FOUR, deltas=None):
    return Outputs(
        jnp.asarray(logits, jnp.float32), jnp.zeros((len(anchors.boxes), 4)) if deltas is None else jnp.asarray(deltas)
    )


@pytest.mark.slow
@pytest.mark.covers("DE-15")
def test_losses_by_hand():
    """One box on the first anchor and a half; C = 2 classes and background, all logits 0: each entropy is log 3."""
    box, labels, valid = jnp.array([[0.0, 0, 8, 12]]), jnp.array([1]), jnp.array([True])
    # IoU with the anchors: 64 / 96 = .667, 0, 32 / 128 = .25, 0.
    sums = jax.jit(partial(image_losses, anchors=FOUR))(
        outputs(np.zeros((4, 3))), boxes=box, labels=labels, valid=valid
    )
    assert int(sums["num_foreground"]) == 1
    assert float(sums["classification"]) == pytest.approx(4 * np.log(3), rel=1e-6)  # one positive, three negatives
    # Deltas: center 2 lower of height 8, sides 8 to 8 and 8 to 12, times 10 and 5: (0, 2.5, 0, 5 log 1.5 = 2.027).
    assert float(sums["box"]) == pytest.approx((2.5 - 0.5) + (5 * np.log(1.5) - 0.5), rel=1e-5)
    fewer = image_losses(outputs(np.zeros((4, 3))), FOUR, box, labels, valid, neg_to_pos_ratio=2.0)
    assert float(fewer["classification"]) == pytest.approx(3 * np.log(3), rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("DE-15")
def test_anchors_on_no_box_are_of_the_background_class_and_labels_come_after_it():
    logits = np.zeros((4, 3), np.float32)
    logits[0, 2] = 50  # label 1: the third column
    logits[1:, 0] = 50  # background: the first
    boxes, valid = jnp.array([[0.0, 0, 8, 8]]), jnp.array([True])
    right = image_losses(outputs(logits), FOUR, boxes, jnp.array([1]), valid)
    assert float(right["classification"]) == pytest.approx(0, abs=1e-6)
    assert float(right["box"]) == 0
    wrong = image_losses(outputs(logits), FOUR, boxes, jnp.array([0]), valid)
    assert float(wrong["classification"]) == pytest.approx(50, rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("DE-15")
def test_an_ignored_anchor_has_no_part_in_the_loss():
    # The second box leaves its best anchor at IoU 36 / (64 + 64 - 28 ...): between low and high, but it is its best.
    anchors = Anchors(np.array([[0, 0, 10, 10], [0, 0, 10, 4.5], [30, 30, 40, 40]], np.float32), (3,))
    boxes, labels, valid = jnp.array([[0.0, 0, 10, 10]]), jnp.array([0]), jnp.array([True])
    logits = jnp.array([[0.0, 0], [0.0, 90], [0.0, 0]])  # the ignored anchor (IoU .45) is very wrong as background
    sums = image_losses(outputs(logits, anchors), anchors, boxes, labels, valid)
    assert float(sums["classification"]) == pytest.approx(2 * np.log(2), rel=1e-6)
    counted = image_losses(
        outputs(logits, anchors), anchors, boxes, labels, valid, fg_iou_thresh=0.5, bg_iou_thresh=0.5
    )
    assert float(counted["classification"]) == pytest.approx(2 * np.log(2) + 90, rel=1e-6)


@pytest.mark.covers("DE-15")
def test_mining_takes_the_hardest_and_of_ties_the_first():
    losses = jnp.array([1.0, 5, 5, 9, 2, 5])
    among = jnp.array([True, True, True, False, True, True])
    np.testing.assert_array_equal(hardest(losses, among, 2), [0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(hardest(losses, among, 4), [0, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(hardest(losses, among, 100), among)
    assert not hardest(losses, jnp.zeros(6, bool), 3).any()


@pytest.mark.covers("DE-15")
def test_degenerate_boxes_cost_a_finite_amount():
    """No box at all, a box without area, and the same box twice."""
    x = outputs(np.random.default_rng(0).normal(size=(4, 3)))
    loss = jax.jit(
        jax.value_and_grad(
            lambda x, boxes, valid: sum(
                v for k, v in image_losses(x, FOUR, boxes, jnp.array([0, 1]), valid).items() if k != "num_foreground"
            )
        )
    )
    for boxes, valid in (
        (np.zeros((2, 4)), [False, False]),
        ([[3, 3, 3, 3], [8, 0, 8, 8]], [True, True]),
        ([[0, 0, 8, 8], [0, 0, 8, 8]], [True, True]),
    ):
        value, gradient = loss(x, jnp.asarray(boxes, jnp.float32), jnp.asarray(valid))
        assert 0 < float(value) < 100
        chex.assert_tree_all_finite(gradient)


@pytest.mark.weekly
@pytest.mark.covers("DE-15")
def test_perfect_outputs_give_the_boxes_back():
    anchors = Anchors.of([(8, 8), (4, 4)], (64, 64), scales=(2.0, 3.0), aspect_ratios=(0.5, 1.0, 2.0))
    boxes, labels = jnp.array([[10.0, 10, 26, 28], [20, 30, 60, 62], [0, 0, 0, 0]]), jnp.array([2, 0, -1])
    valid = jnp.array([True, True, False])
    matched = np.asarray(
        single_stage.match_anchors(
            single_stage.box_iou(boxes, anchors.boxes), 0.5, 0.4, allow_low_quality_matches=True, valid=valid
        )
    )
    foreground = matched >= 0
    logits = np.zeros((len(foreground), 4), np.float32)
    logits[np.arange(len(foreground)), np.where(foreground, np.asarray(labels)[matched] + 1, 0)] = 30
    deltas = encode_boxes(boxes[np.where(foreground, matched, 0)], jnp.asarray(anchors.boxes), single_stage.WEIGHTS)
    perfect = Outputs(jnp.asarray(logits), jnp.where(foreground[:, None], deltas, 0))
    sums = image_losses(perfect, anchors, boxes, labels, valid)
    assert int(sums["num_foreground"]) == foreground.sum() > 2
    assert float(sums["classification"] + sums["box"]) == pytest.approx(0, abs=1e-4)
    detections = single_stage.postprocess(
        perfect, anchors, (64, 64), score_thresh=0.05, nms_thresh=0.5, detections_per_img=5
    )
    assert int(detections["valid"].sum()) == 2
    order = np.argsort(-np.asarray(detections["labels"][:2]))
    np.testing.assert_allclose(detections["boxes"][order], boxes[:2], atol=1e-3)
    np.testing.assert_array_equal(detections["labels"][order], [2, 0])


# The learner


MODEL = SingleStage(
    Small(),
    3,
    ("fine", "coarse"),
    channels=4,
    extra_blocks="none",
    num_convs=1,
    num_groups=2,
    scales=(1.5, 2.5),
    aspect_ratios=(1.0, 2.0),
)


def build(**settings):
    settings = {"detections_per_img": 5, "topk_candidates": 20, **settings}
    return single_stage.learner(
        model=MODEL, optimizer=optax.sgd(0.02), **arguments_of(single_stage.learner, **settings)
    )


@pytest.mark.weekly
@pytest.mark.covers("DE-15")
def test_each_anchor_has_a_background_and_c_classes_and_starts_as_background():
    learner, rows = build(), source(2)[:]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    out, anchors = MODEL.apply({"params": state.params}, rows["image"])
    assert anchors.counts == (4 * 4 * 4, 2 * 2 * 4)
    chex.assert_shape(out, [(2, (16 + 4) * 4, 1 + 3), (2, (16 + 4) * 4, 4)])
    chance = jax.nn.softmax(out.logits)
    np.testing.assert_allclose(chance[..., 0], 0.99, atol=0.01)
    np.testing.assert_allclose(chance[..., 1:], 0.01 / 3, atol=0.003)


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    placements = (Placement(make_mesh("data:1", jax.devices()[:1])), Placement(make_mesh("data:8"), spmd=spmd))
    one, eight = (fit(build(), Pipeline(source(32), 16), steps=2, placement=p, progress=False) for p in placements)
    chex.assert_trees_all_close(
        jax.device_get(one.state.params), jax.device_get(eight.state.params), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"bg_iou_thresh=0.6: .*at most fg_iou_thresh=0.5"):
        build(bg_iou_thresh=0.6)


@pytest.mark.covers("DE-15")
def test_one_update_by_hand():
    """The fifth anchor overlaps a box by a number between the thresholds, and is in no term."""
    learner = single_stage.learner(model=SixAnchors(), optimizer=optax.sgd(0.5), neg_to_pos_ratio=2.0)
    check_mined_update(learner, {1, 2, 3, 5}, 0.5)
