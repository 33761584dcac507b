"""Losses of queries with a logit a class: varifocal, focal, matching and denoising by hand, and one update."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy.optimize import linear_sum_assignment

from dlcore.detection import deformable_detr, query_losses, rt_detr
from dlcore.detection.detr import Outputs
from dlcore.detection.query_losses import QueryCosts, QueryWeights
from dlcore.detection.rt_detr import QueryOutputs
from dlcore.learner import ModelState

image_losses = jax.jit(query_losses.image_losses, static_argnames=("classification", "auxiliary"))
SIDES = np.full(4, 10, np.float32)
TRUTH = np.array([[1, 1, 5, 5], [0, 0, 0, 0]], np.float32), np.array([1, -1]), np.array([True, False])
TRUE = np.array([0.3, 0.3, 0.4, 0.4])
"""The first box in center and size; its class is 1 of 2."""


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def bce(x, t):
    return -t * np.log(sigmoid(x)) - (1 - t) * np.log(sigmoid(-np.asarray(x)))


def giou(box):
    """Generalized IoU with TRUE of boxes with the same center, where one is inside the other: plain IoU."""
    inner, outer = sorted([box[2] * box[3], 0.16])
    return inner / outer


def by_hand(logits, boxes, owner, weights, kind, counts=None):
    """[classification, box, giou] over queries; owner is the index of the query with the box; -1 for none."""
    total = np.zeros(3)
    for q, (logit, box) in enumerate(zip(np.asarray(logits), np.asarray(boxes), strict=True)):
        if counts is not None and not counts[q]:
            continue
        is_owner = q in np.atleast_1d(owner)
        for c, x in enumerate(logit):
            p, positive = sigmoid(x), is_owner and c == 1
            if kind == "varifocal":
                t = giou(box) if positive else 0.0
                total[0] += (t if positive else 0.75 * p**2) * bce(x, t)
            else:
                total[0] += 0.25 * (1 - p) ** 2 * bce(x, 1) if positive else 0.75 * p**2 * bce(x, 0)
        if is_owner:
            total[1] += np.abs(box - TRUE).sum()
            total[2] += 1 - giou(box)
    return total * np.array(weights)


LOGITS = np.array([[0.5, -1.0], [-0.3, 0.8], [0.1, 0.2]], np.float32)
BOXES = np.array([[0.8, 0.8, 0.2, 0.2], [0.3, 0.3, 0.4, 0.2], [0.1, 0.9, 0.1, 0.1]], np.float32)
"""The second query has the box: half of it."""
NOISY = np.array([[0.2, 0.1], [9, 9], [0.7, -0.4], [9, 9]], np.float32)
NOISY_BOXES = np.array([[0.3, 0.3, 0.2, 0.4], [0.5] * 4, [0.3, 0.3, 0.8, 0.4], [0.5] * 4], np.float32)
"""Of one group of two boxes, the second padding: query 0 is positive, 2 negative, 1 and 3 count nothing."""


@pytest.mark.slow(unless=["varifocal"])
@pytest.mark.covers("DE-28")
@pytest.mark.parametrize("kind", ["varifocal", "focal"])
def test_losses_by_hand(kind):
    """Two earlier layers have the queries in the reverse order. Two layers of two groups of denoising queries: of each
    group the first query is positive, the third negative, and the others are padding."""
    weights = QueryWeights(1.5, 4.0, 3.0)
    logits, boxes = (np.stack([values[::-1], values[::-1], values]) for values in (LOGITS, BOXES))
    noisy, noisy_boxes = np.tile(NOISY, (2, 2, 1)), np.tile(NOISY_BOXES, (2, 2, 1))
    outputs = QueryOutputs(logits, boxes, noisy, noisy_boxes)
    sums = image_losses(outputs, SIDES, *TRUTH, weights=weights, classification=kind)
    expected = {
        "": by_hand(LOGITS, BOXES, 1, weights, kind),
        "auxiliary_": 2 * by_hand(LOGITS[::-1], BOXES[::-1], 1, weights, kind),
        "denoising_": 2 * by_hand(NOISY, NOISY_BOXES, 0, weights, kind, [True, False, True, False]),
    }
    for front, values in expected.items():
        actual = [float(sums[front + name]) for name in ("classification", "box", "giou")]
        np.testing.assert_allclose(actual, values, rtol=1e-5, err_msg=front)
    assert int(sums["num_foreground"]) == 1


def test_the_last_layer_alone_may_have_losses_and_others_may_have_no_denoising():
    outputs = Outputs(np.stack([LOGITS, LOGITS]), np.stack([BOXES, BOXES]))
    sums = jax.eval_shape(partial(query_losses.image_losses, auxiliary=False), outputs, SIDES, *TRUTH)
    assert set(sums) == {"classification", "box", "giou", "num_foreground"}


@pytest.mark.slow
def test_matching_weighs_class_and_box():
    """The third query has a better class, the second the box; without the cost of boxes the class decides."""
    logits = jnp.array([[0.0, -3], [0, -3], [0, 3]])
    match = jax.jit(query_losses.match)
    truth = (jnp.asarray(TRUE)[None], jnp.array([1]), jnp.array([True]))
    assert int(match(logits, jnp.asarray(BOXES), *truth, QueryCosts(0.1, 5.0, 2.0))[0]) == 1
    assert int(match(logits, jnp.asarray(BOXES), *truth, QueryCosts(2.0, 0.0, 0.0))[0]) == 2


def test_matches_of_many_images_are_scipys():
    """Of 300 images of 5 queries, 4 classes and 3 boxes, of which the last is padding in each third image."""
    rng, count = np.random.default_rng(0), 300
    logits, labels = 2 * rng.normal(size=(count, 5, 4)), rng.integers(0, 4, (count, 3))
    boxes, targets = (rng.uniform(0.2, 0.8, (count, n, 4)) for n in (5, 3))
    valid = np.ones((count, 3), bool)
    valid[::3, 2] = False
    costs = QueryCosts(1.5, 0.6, 0.8)
    match = jax.jit(jax.vmap(lambda *image: query_losses.match(*image, costs)))
    found = np.asarray(match(*map(np.float32, (logits, boxes, targets)), labels, valid))
    a, b = boxes[:, :, None], targets[:, None]
    a0, a1, b0, b1 = (box[..., :2] + side * box[..., 2:] / 2 for box in (a, b) for side in (-1, 1))
    shared = np.maximum(np.minimum(a1, b1) - np.maximum(a0, b0), 0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    hull = (np.maximum(a1, b1) - np.minimum(a0, b0)).prod(-1)
    overlap = shared / union - (hull - union) / hull
    p = sigmoid(np.take_along_axis(logits, labels[:, None].repeat(5, 1), 2))
    saved = 0.75 * p**2 * np.log(1 - p) - 0.25 * (1 - p) ** 2 * np.log(p)
    cost = 1.5 * saved + 0.6 * np.abs(a - b).sum(-1) - 0.8 * overlap
    for image, (owners, is_box) in enumerate(zip(found, valid, strict=True)):
        rows, columns = linear_sum_assignment(cost[image][:, is_box])
        np.testing.assert_array_equal(owners[is_box][columns], rows)
        assert (owners[~is_box] == -1).all()


class Stub(nn.Module):
    """Logits of two layers of 3 queries and of 4 denoising queries of one layer; boxes are parameters, too."""

    takes_targets = True

    @nn.compact
    def __call__(self, images, train=False, targets=None):
        values = {name: self.param(name, nn.initializers.zeros, shape) for name, shape in SHAPES.items()}
        count = 4 if train else 0
        logits, boxes = (
            jnp.tile(jnp.concatenate([values[f"{k}_0"][None], values[f"{k}_1"][None]]), (len(images), 1, 1, 1))
            for k in ("logits", "boxes")
        )
        noisy = [jnp.tile(values[f"noisy_{k}"][:count], (len(images), 1, 1, 1)) for k in ("logits", "boxes")]
        return QueryOutputs(logits, boxes, *noisy), SIDES


SHAPES = {"logits_0": (3, 2), "logits_1": (3, 2), "boxes_0": (3, 4), "boxes_1": (3, 4)}
SHAPES |= {"noisy_logits": (4, 2), "noisy_boxes": (4, 4)}


@pytest.mark.weekly
@pytest.mark.covers("DE-28")
def test_one_update_by_hand():
    rate, weights = 0.05, QueryWeights(1.5, 4.0, 3.0)
    noisy, noisy_boxes = NOISY, NOISY_BOXES
    before = {"logits_0": LOGITS[::-1].copy(), "boxes_0": BOXES[::-1].copy(), "logits_1": LOGITS, "boxes_1": BOXES}
    before |= {"noisy_logits": noisy, "noisy_boxes": noisy_boxes}
    learner = rt_detr.learner(model=Stub(), optimizer=optax.sgd(rate), weights=weights)
    batch = {
        "image": np.zeros((1, 10, 10, 3), np.float32),
        "boxes": np.asarray(TRUTH[0])[None],
        "labels": np.asarray(TRUTH[1])[None],
        "box_mask": np.asarray(TRUTH[2])[None],
        "index": np.arange(1),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    after, metrics = jax.jit(learner.update)(state, batch)
    expected = {
        "": by_hand(LOGITS, BOXES, 1, weights, "varifocal"),
        "auxiliary_": by_hand(LOGITS[::-1], BOXES[::-1], 1, weights, "varifocal"),
        "denoising_": by_hand(noisy, noisy_boxes, 0, weights, "varifocal", [True, False, True, False]),
    }
    for front, values in expected.items():
        for name, value in zip(("classification", "box", "giou"), values, strict=True):
            assert metrics[f"{front}{name}"].compute() == pytest.approx(value, rel=1e-4), (front, name)
    np.testing.assert_array_equal(after.params["noisy_logits"][1::2], noisy[1::2])
    # Varifocal: p - t times the weight, 0.75 p^2 (and its target is no gradient's business).
    p = sigmoid(noisy[2])
    moved = noisy[2] - rate * 1.5 * 0.75 * p**2 * p
    np.testing.assert_allclose(after.params["noisy_logits"][2], moved, rtol=1e-4)
    chex.assert_tree_all_finite(after.params)


@pytest.mark.slow
@pytest.mark.parametrize("module", [deformable_detr, rt_detr])
def test_settings_of_the_losses_reach_them(module):
    """Focal losses of the last layer alone, with weights of their own."""
    weights = QueryWeights(2.5, 4.0, 3.0)
    settings = {"classification": "focal", "auxiliary": False, "weights": weights}
    learner = module.learner(model=Stub(), optimizer=optax.sgd(0.1), **settings)
    params = {"logits_0": LOGITS[::-1].copy(), "boxes_0": BOXES[::-1].copy(), "logits_1": LOGITS, "boxes_1": BOXES}
    params |= {"noisy_logits": NOISY, "noisy_boxes": NOISY_BOXES}
    batch = {"image": np.zeros((1, 10, 10, 3), np.float32), "index": np.arange(1)}
    batch |= {name: np.asarray(x)[None] for name, x in zip(("boxes", "labels", "box_mask"), TRUTH, strict=True)}
    metrics = jax.jit(learner.evaluate)(ModelState(np.int32(0), jax.random.key(0), params, (), {}), batch)
    assert not [name for name in metrics if name.startswith("auxiliary")]
    expected = by_hand(LOGITS, BOXES, 1, weights, "focal")
    for name, value in zip(("classification", "box", "giou"), expected, strict=True):
        assert metrics[name].compute() == pytest.approx(value, rel=1e-4), name


@pytest.mark.slow
def test_detections_are_the_best_pairs_of_query_and_class():
    outputs = Outputs(jnp.array([[[2.0, 1.0], [-9, 0]]]), jnp.array([[[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]]]))
    detections = query_losses.postprocess(outputs, SIDES, (10, 10), detections_per_img=3)
    np.testing.assert_array_equal(detections["labels"], [0, 1, 1])
    np.testing.assert_allclose(detections["scores"], sigmoid([2, 1, 0]), rtol=1e-5)
    np.testing.assert_allclose(detections["boxes"][2], [1, 1, 3, 3], rtol=1e-5)
