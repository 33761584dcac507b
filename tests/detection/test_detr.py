"""DETR against transformers', its matching and losses by hand, and images without boxes."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy.optimize import linear_sum_assignment

from dlcore.detection import detr
from dlcore.detection.detr import DETR, MatchingCosts, Outputs
from dlcore.detection.torch_weights import from_torch_names
from dlcore.interpretability.attention_maps import query_attention_maps
from dlcore.learner import ModelState
from dlcore.metrics.detection import cardinality_error
from dlcore.models import create_model
from dlcore.ops.boxes import box_convert, generalized_box_iou
from tests.detection.detectors import TINY_DETR, Golden, Small, jitted, parameters, source
from tests.wiring import assert_wiring

image_losses = jax.jit(detr.image_losses)


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_it_has_transformers_number_of_parameters():
    """Its configuration has 2 classes by default; the published weights for COCO have 91, which adds 89 * 257."""
    assert parameters(DETR(create_model("resnet50"), 2)) == 41_501_895


@pytest.fixture(scope="module")
def golden():
    return Golden("hf_detr")


@pytest.fixture(scope="module")
def theirs(golden):
    variables, x = from_torch_names(TINY_DETR, golden.weights), golden.images("pixel_values")
    names = ("encoder_1", "decoder_norm")
    apply = jax.jit(lambda v, x: TINY_DETR.apply(v, x, capture_intermediates=lambda module, _: module.name in names))
    (outputs, sides), seen = apply(variables, x)
    return outputs, sides, seen["intermediates"]


TRUE = ([[0.3, 0.4, 0.2, 0.3], [0.6, 0.5, 0.4, 0.5]], [[0.5, 0.5, 0.9, 0.7], [0, 0, 0, 0]])
LABELS, VALID = np.array([[1, 3], [2, -1]]), np.array([[True, True], [True, False]])


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_tokens_queries_scores_and_boxes_equal_transformers(golden, theirs):
    outputs, sides, seen = theirs
    np.testing.assert_array_equal(sides, [96, 64, 96, 64])
    golden.check(seen["encoder_1"]["__call__"][0], "encoder_last")
    golden.check(seen["decoder_norm"]["__call__"][-1], "last_hidden_state")
    golden.check(outputs.logits[:, -1], "logits")
    golden.check(outputs.boxes[:, -1], "pred_boxes")


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_matching_and_losses_equal_transformers(golden, theirs):
    outputs, sides, _ = theirs
    corners = box_convert(jnp.array(TRUE), "cxcywh", "xyxy") * sides
    sums = jax.vmap(lambda out, *truth: image_losses(out, sides, *truth))(outputs, corners, LABELS, VALID)
    count = sums["num_foreground"].sum()
    assert int(count) == 3
    entropy, weight = (part.sum() for part in sums["classification"])
    want = {name: golden.number(f"loss_dict.loss_{name}") for name in ("ce", "bbox", "giou")}
    assert float(entropy / weight) == pytest.approx(want["ce"], rel=1e-5)
    assert float(sums["box"].sum() / count) == pytest.approx(5 * want["bbox"], rel=1e-5)
    assert float(sums["giou"].sum() / count) == pytest.approx(2 * want["giou"], rel=1e-5)
    total = entropy / weight + (sums["box"] + sums["giou"]).sum() / count
    assert float(total) == pytest.approx(golden.number("loss"), rel=1e-5)
    error = cardinality_error(outputs.logits[:, -1], VALID)
    assert float(error.mean()) == golden.number("loss_dict.cardinality_error")


@pytest.mark.weekly
@pytest.mark.covers("AT-32")
def test_the_match_is_scipys_and_queries_have_no_order():
    rng = np.random.default_rng(0)
    logits, boxes = rng.normal(size=(9, 4)).astype(np.float32), rng.uniform(0.1, 0.9, (9, 4)).astype(np.float32)
    true, labels = rng.uniform(0.1, 0.9, (5, 4)).astype(np.float32), jnp.array([0, 2, 1, 1, -1])
    valid = labels >= 0
    match = jax.jit(partial(detr.match, costs=MatchingCosts()))
    chosen = np.asarray(match(logits, boxes, true, labels, valid))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    overlap = generalized_box_iou(*(box_convert(jnp.asarray(b), "cxcywh", "xyxy") for b in (boxes, true)))
    cost = 5 * np.abs(boxes[:, None] - true).sum(-1) - chance[:, labels] - 2 * np.asarray(overlap)
    rows, columns = linear_sum_assignment(cost[:, valid])
    np.testing.assert_array_equal(chosen[columns], rows)
    assert chosen[4] == -1
    order = rng.permutation(9)
    np.testing.assert_array_equal(
        order[np.asarray(match(logits[order], boxes[order], true, labels, valid))[:4]], rows[np.argsort(columns)]
    )
    sides = jnp.full(4, 10.0)
    corners = box_convert(jnp.asarray(true), "cxcywh", "xyxy") * sides
    first = image_losses(Outputs(logits[None], boxes[None]), sides, corners, labels, valid)
    second = image_losses(Outputs(logits[None, order], boxes[None, order]), sides, corners, labels, valid)
    chex.assert_trees_all_close(first, second, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_losses_by_hand():
    """Two queries, one box: the second has it at an overlap of a half; all logits 0, one class and no object."""
    boxes = jnp.array([[[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5]]])
    outputs = Outputs(jnp.zeros((1, 2, 2)), boxes)
    truth = jnp.array([[25.0, 25, 75, 50]]), jnp.array([0]), jnp.array([True])
    sums = image_losses(outputs, jnp.full(4, 100.0), *truth)
    assert float(sums["classification"][0]) == pytest.approx(1.1 * np.log(2), rel=1e-6)
    assert float(sums["classification"][1]) == pytest.approx(1.1, rel=1e-6)
    assert float(sums["box"]) == pytest.approx(5 * (0.125 + 0.25), rel=1e-5)  # the center is higher, the side half
    assert float(sums["giou"]) == pytest.approx(2 * 0.5, rel=1e-4)
    assert "auxiliary_box" not in sums
    twice = image_losses(jax.tree.map(lambda x: jnp.tile(x, (3, 1, 1)), outputs), jnp.full(4, 100.0), *truth)
    for name in ("box", "giou"):
        assert float(twice[name]) == pytest.approx(float(sums[name]), rel=1e-6)
        assert float(twice[f"auxiliary_{name}"]) == pytest.approx(2 * float(sums[name]), rel=1e-6)
    entropy, weight = twice["auxiliary_classification"]
    assert float(entropy / weight) == pytest.approx(2 * np.log(2), rel=1e-6)
    found = detr.postprocess(
        Outputs(jnp.array([[[0.0, 9], [2, 0]]]), boxes), jnp.full(4, 100.0), (100, 100), detections_per_img=3
    )
    np.testing.assert_array_equal(found["valid"], [True, False, False])
    np.testing.assert_allclose(found["boxes"][0], [25, 25, 75, 75], rtol=1e-6)
    assert float(found["scores"][0]) == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-5)


MODEL = DETR(Small(), 3, "fine", 4, 8, 2, 8, 1, 2)


def build(model=MODEL):
    optimizer = optax.sgd(0.05)
    return detr.learner(model=model, optimizer=optimizer, detections_per_img=4)


@pytest.mark.weekly
def test_attention_maps_have_the_form_of_the_image():
    x = jax.random.normal(jax.random.key(1), (2, 32, 64, 3))
    scores, labels, maps = query_attention_maps(MODEL, jax.jit(MODEL.init)(jax.random.key(0), x), x)
    assert (scores.shape, labels.shape, maps.shape) == ((2, 4), (2, 4), (2, 4, 4, 8))
    np.testing.assert_allclose(maps.sum((2, 3)), 1, rtol=1e-5)
    assert (scores <= 1).all()
    assert labels.max() < 3


@pytest.mark.weekly
def test_images_without_boxes_learn_that_no_query_has_an_object():
    learner, rows = jitted(build()), source(4)[:]
    state = learner.init(jax.random.key(0), rows)
    first = learner.evaluate(state, rows)
    chex.assert_trees_all_equal(learner.evaluate(state, rows), first)
    parts = [v.compute() for k, v in first.items() if k not in ("loss", "cardinality_error")]
    assert first["loss"].compute() == pytest.approx(sum(parts), rel=1e-5)
    rows["box_mask"][:] = False
    rows["boxes"][:] = np.nan
    after, metrics = learner.update(state, rows)  # with dropout
    chex.assert_tree_all_finite(after.params)
    assert metrics["box"].compute() is None
    assert metrics["classification"].compute() > 0
    assert learner.evaluate(after, rows)["loss"].compute() < learner.evaluate(state, rows)["loss"].compute()
    chex.assert_shape(learner.predict(after, rows)["boxes"], (4, 4, 4))
    learner.update(after, source(4)[:])
    assert learner.update._cache_size() == 1


@pytest.mark.slow
def test_more_boxes_than_queries_leave_the_dearest_out():
    outputs = Outputs(jnp.zeros((1, 1, 3)), jnp.array([[[0.5, 0.5, 0.2, 0.2]]]))
    boxes = jnp.array([[0.0, 0, 2, 2], [4, 4, 6, 6], [8, 8, 10, 10]])
    sums = image_losses(outputs, jnp.full(4, 10.0), boxes, jnp.array([0, 1, 0]), jnp.ones(3, bool))
    assert float(sums["box"]) == pytest.approx(0, abs=1e-5)  # the second is the query's own
    assert float(sums["classification"][1]) == 1
    assert int(sums["num_foreground"]) == 3


class Given(nn.Module):
    """Two layers of two queries: logits in proportion to the number of an image, and boxes that all share."""

    @nn.compact
    def __call__(self, images, train=False):
        logits = self.param("logits", nn.initializers.zeros, (2, 2, 3))
        boxes = self.param("boxes", nn.initializers.zeros, (2, 2, 4))
        return Outputs(images * logits, jnp.broadcast_to(boxes, (len(images), 2, 2, 4))), jnp.full(4, 10.0)


@pytest.mark.slow(unless=["evaluate"])
@pytest.mark.covers("AT-32")
@pytest.mark.parametrize("step", ["evaluate", "update"])
def test_one_step_by_hand(step):
    """One box an image: the first layer's queries own them in order, the last layer's crosswise; the other is none."""
    rate = 0.05
    learner = detr.learner(model=Given(), optimizer=optax.sgd(rate), weights=detr.LossWeights(0.2, 3.0, 1.5))
    found = [[[0.31, 0.3, 0.23, 0.24], [0.73, 0.62, 0.3, 0.37]], [[0.65, 0.65, 0.35, 0.3], [0.25, 0.38, 0.17, 0.3]]]
    logits = np.random.default_rng(2).normal(size=(2, 2, 3)).astype(np.float32)
    before = {"logits": logits, "boxes": np.array(found, np.float32)}
    scale = np.array([1.0, 0.7], np.float32)
    batch = {
        "image": scale.reshape(2, 1, 1, 1),
        "boxes": np.array([[[2, 2.5, 4, 4.5], [0, 0, 10, 10]], [[5, 4, 9, 8], [0, 0, 10, 10]]], np.float32),
        "labels": np.array([[1, 0], [0, 1]]),
        "box_mask": np.array([[True, False], [True, False]]),
        "index": np.arange(2),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    done = jax.jit(getattr(learner, step))(state, batch)
    after, metrics = done if step == "update" else (None, done)
    true = np.array([[0.3, 0.35, 0.2, 0.2], [0.7, 0.6, 0.4, 0.4]], np.float32)  # of the two images
    owner = np.array([[0, 1], [1, 0]])  # [layer, image]
    label = np.full((2, 2, 2), 2)  # [image, layer, query], "no object" but for the owner
    for layer in range(2):
        label[0, layer, owner[layer, 0]], label[1, layer, owner[layer, 1]] = 1, 0
    weight = np.where(label == 2, 0.2, 1.0)

    def giou(a, b, xp):
        (a0, a1), (b0, b1) = ((box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2) for box in (a, b))
        shared = (xp.minimum(a1, b1) - xp.maximum(a0, b0)).prod(-1)
        union = (a1 - a0).prod(-1) + (b1 - b0).prod(-1) - shared
        hull = (xp.maximum(a1, b1) - xp.minimum(a0, b0)).prod(-1)
        return shared / union - (hull - union) / hull

    def parts(params, xp=jnp):
        scores = xp.exp(scale[:, None, None, None] * params["logits"])
        nats = -xp.log((scores * (label[..., None] == np.arange(3))).sum(-1) / scores.sum(-1))
        entropy = [(weight * nats)[:, k].sum() / weight[:, k].sum() for k in range(2)]
        mine = [params["boxes"][k, owner[k]] for k in range(2)]  # [image, 4] of each layer
        distance = [3.0 * xp.abs(boxes - true).sum() / 2 for boxes in mine]
        return xp.array([entropy, distance, [1.5 * (1 - giou(boxes, true, xp)).sum() / 2 for boxes in mine]])

    for name, (early, last) in zip(("classification", "box", "giou"), parts(before, np), strict=True):
        assert metrics[name].compute() == pytest.approx(float(last), rel=1e-4), name
        assert metrics[f"auxiliary_{name}"].compute() == pytest.approx(float(early), rel=1e-4), name
    # Both queries of the last layer find an object likelier than none, and each image has one box.
    assert (before["logits"][1].argmax(-1) < 2).all()
    assert metrics["cardinality_error"].compute() == 1
    if step == "update":
        gradients = jax.jit(jax.grad(lambda params: parts(params).sum()))(before)
        new = jax.tree.map(lambda p, g: p - rate * g, before, gradients)
        chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-6)


def test_the_wiring_of_detr_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MODEL, (2, 16, 24, 3), [42.0786, -36.2187])
