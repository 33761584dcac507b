"""SSD against torchvision's SSD300, default boxes and mining by hand, and images without boxes.

The parity with VGG-16 takes most of the time.
"""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.detection import dense, ssd
from dlcore.detection.anchors import Anchors
from dlcore.detection.dense import Thresholds
from dlcore.detection.ssd import SSD, Outputs, ReducedVGG16, default_boxes, match_default_boxes
from dlcore.detection.torch_weights import from_torch_names
from tests.detection.detectors import GOLDENS, Golden, SixAnchors, Small, check_mined_update, jitted, parameters, source
from tests.wiring import assert_wiring

SSD300 = SSD(ReducedVGG16(), 90)

image_losses = jax.jit(ssd.image_losses)


@pytest.mark.covers("DE-17")
def test_it_has_torchvisions_number_of_parameters():
    assert parameters(SSD300, (300, 300)) == 35_641_826


@pytest.mark.weekly
@pytest.mark.covers("DE-17")
def test_levels_heads_boxes_matches_and_losses_equal_torchvision():
    golden = Golden("tvdet_ssd300_vgg16")
    variables = from_torch_names(SSD300, golden.weights, (300, 300))
    outputs, boxes = jax.jit(SSD300.apply)(variables, golden.images())
    assert boxes.counts == (38 * 38 * 4, 19 * 19 * 6, 10 * 10 * 6, 5 * 5 * 6, 3 * 3 * 4, 4)
    assert sum(boxes.counts) == 8732
    golden.check(boxes.boxes, "anchors", 1e-5)
    golden.check(outputs.logits, "head.cls_logits")
    golden.check(outputs.deltas, "head.bbox_regression")
    true, labels, valid = golden.targets()
    iou = jax.vmap(lambda true: ssd.box_iou(true, boxes.boxes))(true)
    golden.check(jax.vmap(lambda iou, valid: match_default_boxes(iou, valid=valid))(iou, valid), "matched_idxs", 1e-9)
    # torchvision counts its background as class 0.
    sums = jax.vmap(lambda out, *truth: image_losses(out, boxes, *truth))(outputs, true, labels - 1, valid)
    count = sums["num_foreground"].sum()
    for ours, theirs in (("classification", "classification"), ("box", "bbox_regression")):
        assert float(sums[ours].sum() / count) == pytest.approx(golden.number(f"loss.{theirs}"), rel=2e-5)


@pytest.mark.covers("DE-17")
def test_default_boxes_equal_torchvision():
    golden = np.load(GOLDENS / "tvops_boxes.npz")
    args = json.loads(str(golden["meta"]))["cases"]["default_boxes"]["args"]
    scales = (args["min_ratio"], args["max_ratio"], 1.0)  # taken as shares, so that almost all sides are cut to 1
    boxes = default_boxes(args["feature_sizes"], args["image"], scales, args["aspect_ratios"], args["steps"])
    np.testing.assert_allclose(boxes.boxes, golden["default_boxes/out"], atol=1e-5)
    assert boxes.counts == (4 * 5 * 4, 2 * 2 * 6)


def test_default_boxes_by_hand():
    # 40 x 20 pixels, one level of 2 x 1: centers (10, 10) and (30, 10); sides .2, sqrt(.2 * .8) = .4, then ratio 4.
    boxes = default_boxes([(1, 2)], (20, 40), (0.2, 0.8), [(4.0,)])
    want = [[6, 8, 14, 12], [2, 6, 18, 14], [2, 9, 18, 11], [8, 6, 12, 14]]
    np.testing.assert_allclose(boxes.boxes[:4], want, atol=1e-5)
    np.testing.assert_allclose(boxes.boxes[4], [26, 8, 34, 12], atol=1e-5)
    whole = default_boxes([(1, 1)], (20, 40), (1.05, 1.2), [()])
    np.testing.assert_allclose(whole.boxes, [[0, 0, 40, 20]] * 2, atol=1e-5)  # cut to the image
    with pytest.raises(ValueError, match=r"scales=\(0.2,\): 1 for 1 levels; allowed: 2"):
        default_boxes([(1, 2)], (20, 40), (0.2,), [()])


@pytest.mark.covers("DE-17")
def test_every_box_with_an_area_has_its_best_default_box():
    iou = jnp.array([[0.6, 0.3, 0.1, 0.0], [0.4, 0.3, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0], [0.9, 0.9, 0.9, 0.9]])
    valid = jnp.array([True, True, True, False])
    # Both have the first as their best: the last of them has it. The third has no area, the fourth is padding.
    np.testing.assert_array_equal(match_default_boxes(iou, valid=valid), [1, -1, -1, -1])
    apart = iou.at[1].set(jnp.array([0.1, 0.2, 0.3, 0.0]))
    np.testing.assert_array_equal(match_default_boxes(apart, valid=valid), [0, -1, 1, -1])


THREE = Anchors(np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16]], np.float32), (3,))


@pytest.mark.covers("DE-17")
def test_mining_and_losses_by_hand():
    """The first is of the box, whose deltas are 0; of the two others one is counted at the ratio 1, the harder."""
    logits = jnp.array([[0.0, 0, 0], [0, 2, 0], [0, 0, 0]])
    outputs = Outputs(logits, jnp.full((3, 4), 0.5))
    boxes, labels, valid = jnp.array([[0.0, 0, 8, 8]]), jnp.array([1]), jnp.array([True])
    sums = image_losses(outputs, THREE, boxes, labels, valid, neg_to_pos_ratio=1.0)
    assert int(sums["num_foreground"]) == 1
    assert float(sums["classification"]) == pytest.approx(np.log(3) + np.log(2 + np.exp(2)), rel=1e-6)
    assert float(sums["box"]) == pytest.approx(4 * 0.5**2 / 2)
    none = image_losses(outputs, THREE, boxes, labels, jnp.array([False]), neg_to_pos_ratio=1.0)
    assert float(none["classification"]) == pytest.approx(np.log(2 + np.exp(2)), rel=1e-6)  # as with one positive
    theirs = image_losses(outputs, THREE, boxes, labels, jnp.array([False]), min_positives=0)
    assert float(theirs["classification"]) == 0


@pytest.mark.weekly
def test_suppression_by_class_is_that_of_all_classes_together():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 40, (30, 2))
    boxes = jnp.asarray(np.concatenate([corner, corner + rng.uniform(8, 20, (30, 2))], 1), jnp.float32)
    candidates = dense.topk_by_class(jnp.asarray(rng.random((30, 3)), jnp.float32), boxes, 12)
    settings = {"score_thresh": 0.2, "nms_thresh": 0.4, "detections_per_img": 20}
    together = dense.select(candidates, (64, 64), **settings)
    assert 5 < int(together["valid"].sum()) < 36
    chex.assert_trees_all_equal(dense.select(candidates, (64, 64), num_blocks=3, **settings), together)


MODEL = SSD(
    Small(),
    3,
    ("fine", "coarse"),
    extra_channels=(4,),
    extra_strides=(2,),
    scales=(0.3, 0.5, 0.7, 0.9),
    aspect_ratios=(2.0,),
    boxes_per_location=(4, 4, 2),
    steps=(),
)


@pytest.mark.weekly
def test_images_without_boxes_learn_the_background():
    learner = jitted(ssd.learner(model=MODEL, optimizer=optax.sgd(0.1), thresholds=Thresholds(0.01, 0.45, 10, 5)))
    rows = source(4)[:]
    state = learner.init(jax.random.key(0), rows)
    outputs, boxes = MODEL.apply({"params": state.params}, rows["image"])
    assert boxes.counts == (64, 16, 2)
    chex.assert_shape(outputs, [(4, 82, 4), (4, 82, 4)])
    rows["box_mask"][:] = False
    after, metrics = learner.update(state, rows)
    assert metrics["classification"].total > 0
    assert metrics["loss"].compute() is None
    assert float(learner.loss(after.params, after, rows)[0]) < float(learner.loss(state.params, state, rows)[0])
    rows = source(4)[:]
    chex.assert_trees_all_equal(learner.evaluate(after, rows), learner.evaluate(after, rows))
    chex.assert_shape(learner.predict(after, rows)["boxes"], (4, 5, 4))
    learner.update(after, rows)
    assert learner.update._cache_size() == 1


@pytest.mark.covers("DE-17")
def test_one_update_by_hand():
    """The fifth default box is background like the others."""
    learner = ssd.learner(
        model=SixAnchors(), optimizer=optax.sgd(0.5), preprocess=lambda images: 2 * images, neg_to_pos_ratio=2.0,
        min_positives=1,
    )  # fmt: skip
    check_mined_update(learner, {1, 2, 3, 4, 5}, 0.5, factor=2)


def test_the_wiring_of_ssd_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MODEL, (2, 16, 24, 3), [142.777, 9.73596])


@pytest.mark.slow
def test_the_wiring_of_the_reduced_vgg_is_as_it_was():
    """A regression: the number holds the code as it was. Of 20 rows the third pooling makes 3, as it rounds up."""
    assert_wiring(ReducedVGG16(2), (2, 20, 28, 3), [34.552, -7.54935], method="features")
