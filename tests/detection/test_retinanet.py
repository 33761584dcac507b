"""RetinaNet against torchvision's, its losses by hand, and the learner's corners: no box, no change by the batch split.

The parity with ResNet-50 takes most of the time.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.detection import retinanet
from dlcore.detection.anchors import Anchors
from dlcore.detection.retinanet import Outputs, RetinaNet
from dlcore.detection.torch_weights import from_torch_names
from dlcore.learner import ModelState
from dlcore.models import create_model
from dlcore.ops.boxes import encode_boxes
from dlcore.run import Placement, fit, make_mesh
from tests.detection.detectors import Golden, Small, jitted, parameters, source
from tests.experiment.arguments import arguments_of
from tests.wiring import assert_wiring

image_losses = jax.jit(retinanet.image_losses)
postprocess = jax.jit(retinanet.postprocess, static_argnames=("size", "detections_per_img"))


def torchvision_detector():
    return RetinaNet(create_model("resnet50"), 91)


@pytest.mark.covers("DE-18")
def test_it_has_torchvisions_number_of_parameters():
    assert parameters(torchvision_detector()) == 34_014_999


@pytest.mark.slow
@pytest.mark.covers("DE-18")
def test_pyramid_heads_and_losses_equal_torchvision():
    golden, model = Golden("tvdet_retinanet_resnet50_fpn"), torchvision_detector()
    x = golden.images()

    @jax.jit
    def apply(variables, x):
        return model.apply(variables, x, capture_intermediates=lambda module, _: module.name == "fpn")

    (outputs, anchors), seen = apply(from_torch_names(model, golden.weights), x)
    for level, name in zip(seen["intermediates"]["fpn"]["__call__"][0], ("0", "1", "2", "p6", "p7"), strict=True):
        golden.check(level.transpose(0, 3, 1, 2), f"fpn.{name}")
    golden.check(outputs.logits, "head.cls_logits")
    golden.check(outputs.deltas, "head.bbox_regression")
    golden.check(anchors.boxes, "anchors")

    sums = jax.vmap(lambda out, *truth: image_losses(out, anchors, *truth))(outputs, *golden.targets())
    count = np.maximum(sums["num_foreground"], 1)  # torchvision averages over the images what it divides in each
    for ours, theirs in (("classification", "classification"), ("box", "bbox_regression")):
        assert float((sums[ours] / count).mean()) == pytest.approx(golden.number(f"loss.{theirs}"), rel=2e-5)


def test_weights_that_do_not_fit_are_named():
    model = RetinaNet(Small(), 3, ("fine", "coarse"), 4, "none", 1)
    with pytest.raises(ValueError, match=r"does not fit RetinaNet; 14 missing: backbone.body.coarse.bias|missing"):
        from_torch_names(model, {"head.other": np.zeros(1)})


# Losses by hand


FOUR = Anchors(np.array([[0, 0, 8, 8], [0, 0, 8, 3.6], [0, 8, 8, 16], [40, 40, 48, 48]], np.float32), (4,))


@pytest.mark.covers("DE-18")
def test_losses_by_hand():
    """A box on the first anchor: the second overlaps it by .45 and is ignored; all logits 0, two classes."""
    boxes, labels, valid = jnp.array([[0.0, 0, 8, 8]]), jnp.array([1]), jnp.array([True])
    outputs = Outputs(jnp.zeros((4, 2)), jnp.ones((4, 4)))
    sums = image_losses(outputs, FOUR, boxes, labels, valid)
    assert int(sums["num_foreground"]) == 1
    # Each yes costs .25 * .5^2 * log 2, each no .75 * .5^2 * log 2: one yes, and 1 + 2 + 2 noes of three anchors.
    assert float(sums["classification"]) == pytest.approx((0.25 + 5 * 0.75) * 0.25 * np.log(2), rel=1e-6)
    assert float(sums["box"]) == 4  # the true deltas are zero; the weights of the coder are 1
    moved = image_losses(outputs, FOUR, jnp.array([[0.0, 2, 8, 10]]), labels, valid)  # IoU 6 / 10
    assert float(moved["box"]) == pytest.approx(3 + 0.75)  # |1 - 2 / 8| along y


class Given(nn.Module):
    """Outputs for four anchors, in proportion to the one number of an image."""

    @nn.compact
    def __call__(self, images, train=False):
        shapes = {"logits": (4, 2), "deltas": (4, 4)}
        parts = {name: self.param(name, nn.initializers.zeros, shape) for name, shape in shapes.items()}
        return Outputs(**{name: images[:, 0] * part for name, part in parts.items()}), FOUR


@pytest.mark.slow
@pytest.mark.covers("DE-18")
def test_one_update_by_hand():
    """Both images' focal losses and L1 distances over the batch's two foreground anchors; one anchor is ignored."""
    rate, rng = 0.1, np.random.default_rng(0)
    learner = retinanet.learner(model=Given(), optimizer=optax.sgd(rate), alpha=0.3, gamma=2.0)
    before = {"logits": rng.normal(size=(4, 2)), "deltas": rng.normal(size=(4, 4))}
    before = {name: value.astype(np.float32) for name, value in before.items()}
    scale = np.array([1.0, 0.7], np.float32)
    batch = {
        "image": scale.reshape(2, 1, 1, 1),
        "boxes": np.array([[[0, 2, 8, 10], [40, 40, 48, 48]], [[0, 0, 8, 8], [0, 8, 8, 16]]], np.float32),
        "labels": np.array([[1, 0], [0, 1]]),
        "box_mask": np.array([[True, False], [True, False]]),
        "index": np.arange(2),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    after, metrics = jax.jit(learner.update)(state, batch)
    # IoU of the first image's box with the anchors: .6, .16, .14, 0; of the second's 1, .45 (ignored), 0, 0.
    yes = np.zeros((2, 4, 2), np.float32)
    yes[0, 0, 1] = yes[1, 0, 0] = 1
    counts = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], np.float32)[..., None]
    deltas = np.array([[0, 2 / 8, 0, 0], [0, 0, 0, 0]], np.float32)

    @jax.jit
    def expected(params):
        def parts(params):
            p = 1 / (1 + jnp.exp(-scale[:, None, None] * params["logits"]))
            focal = -0.3 * yes * (1 - p) ** 2 * jnp.log(p) - 0.7 * (1 - yes) * p**2 * jnp.log(1 - p)
            return (counts * focal).sum() / 2, jnp.abs(scale[:, None] * params["deltas"][0] - deltas).sum() / 2

        gradients = jax.grad(lambda params: sum(parts(params)))(params)
        return jax.tree.map(lambda p, g: p - rate * g, params, gradients), parts(params)

    new, (focal, distance) = expected(before)
    chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-6)
    assert metrics["classification"].compute() == pytest.approx(float(focal), rel=1e-5)
    assert metrics["box"].compute() == pytest.approx(float(distance), rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(float(focal + distance), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("DE-18")
def test_all_scores_start_at_the_prior():
    """With 0.01 the first focal loss of background is small: -.75 .01^2 log .99 each, not a quarter of log 2."""
    learner, rows = build(), source(2)[:]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    outputs, anchors = MODEL.apply({"params": state.params}, rows["image"])
    chex.assert_shape(outputs, [(2, (16 + 4) * 4, 3), (2, (16 + 4) * 4, 4)])
    assert anchors.counts == (16 * 4, 4 * 4)
    np.testing.assert_allclose(jax.nn.sigmoid(outputs.logits), 0.01, atol=0.003)
    rows["box_mask"][:] = False
    empty, _ = learner.loss(state.params, state, rows)
    assert float(empty) == pytest.approx(2 * 80 * 3 * -0.75 * 0.01**2 * np.log(0.99), rel=0.1)


@pytest.mark.weekly
@pytest.mark.covers("DE-18")
def test_perfect_outputs_give_the_boxes_back():
    anchors = Anchors.of([(8, 8), (4, 4)], (64, 64), scales=(2.0, 3.0))
    boxes, labels = jnp.array([[10.0, 10, 26, 28], [20, 30, 60, 62], [0, 0, 0, 0]]), jnp.array([2, 0, -1])
    valid = jnp.array([True, True, False])
    iou = retinanet.box_iou(boxes, anchors.boxes)
    matched = np.asarray(retinanet.match_anchors(iou, 0.5, 0.4, allow_low_quality_matches=True, valid=valid))
    foreground = matched >= 0
    logits = np.full((len(matched), 3), -30, np.float32)
    logits[foreground, np.asarray(labels)[matched[foreground]]] = 30
    deltas = encode_boxes(boxes[np.where(foreground, matched, 0)], jnp.asarray(anchors.boxes))
    perfect = Outputs(jnp.asarray(logits), jnp.where(foreground[:, None], deltas, 0))
    sums = image_losses(perfect, anchors, boxes, labels, valid)
    assert int(sums["num_foreground"]) == foreground.sum() > 2
    assert float(sums["classification"] + sums["box"]) == pytest.approx(0, abs=1e-4)
    found = postprocess(perfect, anchors, (64, 64), score_thresh=0.05, nms_thresh=0.5, detections_per_img=5)
    assert int(found["valid"].sum()) == 2
    order = np.argsort(-np.asarray(found["labels"][:2]))
    np.testing.assert_allclose(found["boxes"][order], boxes[:2], atol=1e-3)
    np.testing.assert_array_equal(found["labels"][order], [2, 0])


# The learner


MODEL = RetinaNet(Small(), 3, ("fine", "coarse"), 4, "none", 1, 2, scales=(1.5, 2.5), aspect_ratios=(1.0, 2.0))


def build(**settings):
    settings = {"detections_per_img": 5, "topk_candidates": 20, **settings}
    return retinanet.learner(model=MODEL, optimizer=optax.sgd(0.02), **arguments_of(retinanet.learner, **settings))


@pytest.mark.weekly
def test_images_without_boxes_cost_a_finite_amount_and_evaluation_repeats():
    learner, rows = jitted(build()), source(4)[:]
    rows["box_mask"][:] = False
    state = learner.init(jax.random.key(0), rows)
    after, metrics = learner.update(state, rows)
    chex.assert_tree_all_finite(after.params)
    assert metrics["loss"].compute() is None  # nothing to divide by
    assert float(metrics["loss"].total) > 0  # the background is still learned
    rows = source(4)[:]
    chex.assert_trees_all_equal(learner.evaluate(after, rows), learner.evaluate(after, rows))
    chex.assert_trees_all_equal(learner.predict(after, rows), learner.predict(after, rows))
    learner.update(after, rows)
    assert learner.update._cache_size() == 1


@pytest.mark.weekly
@pytest.mark.covers("DE-18")
def test_the_loss_is_divided_by_the_foreground_of_all_devices():
    placements = (Placement(make_mesh("data:1", jax.devices()[:1])), Placement(make_mesh("data:8"), spmd="pmap"))
    one, eight = (fit(build(), Pipeline(source(32), 16), steps=2, placement=p, progress=False) for p in placements)
    chex.assert_trees_all_close(
        jax.device_get(one.state.params), jax.device_get(eight.state.params), rtol=1e-4, atol=1e-6
    )


def test_the_wiring_of_retinanet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MODEL, (2, 16, 24, 3), [157.742, -16.6734])
