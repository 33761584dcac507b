"""Post-processing against torchvision's kinds of detector, ties, and padding."""

import json
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import dense, localization, pose, two_stage
from dlcore.detection.dense import Candidates, topk_by_class, topk_by_level
from dlcore.learner import ModelState
from dlcore.ops.boxes import decode_boxes, distances_to_boxes
from dlcore.ops.replica import REPLICA

GOLDENS = Path(__file__).parents[1] / "goldens"
GOLDEN = np.load(GOLDENS / "tvdet_postprocess.npz")
CASES = {name: case["args"] for name, case in json.loads(str(GOLDEN["meta"]))["cases"].items()}

select = jax.jit(dense.select, static_argnames=("size", "detections_per_img", "min_size", "within"))


def given(case, *names):
    return (jnp.asarray(GOLDEN[f"{case}/in.{name}"]) for name in names)


def candidates_of(case):
    """(candidates of each image, further settings of select)."""
    settings = CASES[case]
    if case == "retinanet":
        logits, deltas, anchors = given(case, "cls_logits", "bbox_regression", "anchors")
        boxes, scores = decode_boxes(deltas, anchors), jax.nn.sigmoid(logits)
    elif case == "fcos":
        logits, deltas, center, anchors = given(case, "cls_logits", "bbox_regression", "bbox_ctrness", "anchors")
        size = jnp.tile(anchors[:, 2:] - anchors[:, :2], 2)
        boxes = distances_to_boxes((anchors[:, :2] + anchors[:, 2:]) / 2, deltas * size)
        scores = jnp.sqrt(jax.nn.sigmoid(logits) * jax.nn.sigmoid(center))
    elif case == "rpn":
        boxes, logits = given(case, "proposals", "objectness")
        scores = jax.nn.sigmoid(logits.reshape(2, -1, 1))
    elif case == "ssd":
        logits, deltas, anchors = given(case, "cls_logits", "bbox_regression", "anchors")
        boxes, scores = decode_boxes(deltas, anchors, (10, 10, 5, 5)), jax.nn.softmax(logits)[..., 1:]
        return [topk_by_class(s, b, settings["topk_candidates"]) for s, b in zip(scores, boxes, strict=True)], {}
    else:
        logits, deltas, proposals = given(case, "class_logits", "box_regression", "proposals")
        boxes = decode_boxes(deltas.reshape(len(deltas), -1, 4), proposals[:, None], (10, 10, 5, 5))[:, 1:]
        parts = np.cumsum(settings["proposals_per_image"])[:-1]
        scores, boxes = jnp.split(jax.nn.softmax(logits)[:, 1:], parts), jnp.split(boxes, parts)
        return [topk_by_class(s, b) for s, b in zip(scores, boxes, strict=True)], {"min_size": 0.01}
    most, extra = settings.get("topk_candidates"), {}
    if case == "rpn":
        most, extra = settings["pre_nms_top_n"], {"min_size": settings["min_size"], "within": "levels"}
    return [topk_by_level(s, b, settings["anchors_per_level"], most) for s, b in zip(scores, boxes, strict=True)], extra


@pytest.mark.slow
@pytest.mark.weekly(unless=["fcos", "ssd"])
@pytest.mark.covers("DE-21")
@pytest.mark.parametrize("case", ["retinanet", "fcos", "ssd", "fasterrcnn", "rpn"])
def test_postprocessing_equals_torchvision(case):
    settings, (images, extra) = CASES[case], candidates_of(case)
    count = settings.get("detections_per_img", settings.get("post_nms_top_n"))
    options = {"score_thresh": settings["score_thresh"], "nms_thresh": settings["nms_thresh"], **extra}
    size = tuple(settings["image_size"])
    selected = jax.jit(lambda candidates: select(candidates, size, detections_per_img=count, **options))
    for i, candidates in enumerate(images):
        detections = selected(candidates)
        valid = np.asarray(detections["valid"])
        want = {k: GOLDEN[f"{case}/out.{i}.{k}"] for k in ("boxes", "scores")}
        assert valid.sum() == len(want["scores"])
        np.testing.assert_allclose(detections["scores"][valid], want["scores"], rtol=1e-5)
        np.testing.assert_allclose(detections["boxes"][valid], want["boxes"], rtol=1e-4, atol=1e-4)
        if case != "rpn":
            first = 1 if case in ("ssd", "fasterrcnn") else 0  # torchvision counts its background
            np.testing.assert_array_equal(detections["labels"][valid] + first, GOLDEN[f"{case}/out.{i}.labels"])


def candidates_with(scores, labels=None):
    count = len(scores)
    boxes = jnp.array([[10.0 * i, 0, 10 * i + 8, 8] for i in range(count)])
    labels = jnp.zeros(count, int) if labels is None else jnp.asarray(labels)
    return Candidates(boxes, jnp.asarray(scores), labels, jnp.zeros(count, int))


@pytest.mark.slow
@pytest.mark.covers("DE-21")
def test_ties_keep_the_first_and_an_empty_image_is_all_padding():
    best = jax.jit(lambda x: select(x, (100, 100), score_thresh=0.2, nms_thresh=0.5, detections_per_img=2))
    detections = best(candidates_with([0.5, 0.5, 0.5]))
    np.testing.assert_array_equal(detections["boxes"][:, 0], [0, 10])
    same = candidates_with([0.5, 0.5, 0.3])._replace(boxes=jnp.array([[0.0, 0, 8, 8], [1, 0, 8, 8], [0, 0, 8, 8]]))
    detections = best(same)
    np.testing.assert_array_equal(detections["valid"], [True, False])
    np.testing.assert_array_equal(detections["boxes"][0], [0, 0, 8, 8])
    empty = best(candidates_with([0.1, 0.2, 0.0]))
    assert not empty["valid"].any()
    np.testing.assert_array_equal(empty["labels"], -1)
    np.testing.assert_array_equal(empty["boxes"], 0)
    np.testing.assert_array_equal(empty["scores"], 0)


@pytest.mark.slow
def test_one_location_may_be_of_two_classes():
    candidates = topk_by_level(jnp.array([[0.9, 0.8]]), jnp.array([[0.0, 0, 4, 4]]), [1], 5)
    detections = select(candidates, (10, 10), score_thresh=0.1, nms_thresh=0.5, detections_per_img=3)
    np.testing.assert_array_equal(detections["labels"], [0, 1, -1])


# The learner's sums


class Toy(nn.Module):
    """One number an image, with dropout that drops nothing."""

    class Outputs(NamedTuple):
        value: jax.Array

    @nn.compact
    def __call__(self, x, train=False):
        scale = self.param("scale", nn.initializers.ones, ())
        return self.Outputs(nn.Dropout(0.0)(scale * x.mean((1, 2)), deterministic=not train)), None


class Trained(Toy):
    """A toy that adds 1 in training, and counts how often it is trained."""

    @nn.compact
    def __call__(self, x, train=False):
        count = self.variable("batch_stats", "count", jnp.zeros, ())
        if train:
            count.value += 1
        return self.Outputs(self.param("scale", nn.initializers.ones, ()) * x.mean((1, 2)) + train), None


def toy_losses(outputs, locations, boxes, labels, valid):
    count = valid.sum(dtype=jnp.int32)
    return {
        "weighted": (outputs.value.sum() * labels[0], labels[0].astype(jnp.float32)),
        "counted": outputs.value.sum() * count,
        "num_foreground": count,
    }


def toy_learner(model=Toy()):
    optimizer = optax.sgd(1.0)
    measures = {
        "boxes": lambda valid: valid.sum(dtype=jnp.int32),
        "share": lambda valid: (valid.sum(dtype=jnp.int32), jnp.int32(2)),
    }
    return dense.detector_learner(
        model=model,
        optimizer=optimizer,
        losses=toy_losses,
        measures=lambda *row: {name: measure(row[4]) for name, measure in measures.items()},
        postprocess=None,
    )


def test_the_network_is_trained_by_an_update_alone():
    rows = {
        "image": np.full((1, 2, 2, 1), 3, np.float32),
        "boxes": np.zeros((1, 1, 4), np.float32),
        "labels": np.ones((1, 1), np.int32),
        "box_mask": np.ones((1, 1), bool),
        "index": np.arange(1, dtype=np.int32),
    }
    learner = toy_learner(Trained())
    state = learner.init(jax.random.key(0), rows)
    after, metrics = learner.update(state, rows)
    # 3 is the mean of the image, once as "weighted" and once as "counted"; training adds 1 to each.
    assert metrics["loss"].compute() == (3 + 1) + (3 + 1)
    assert learner.evaluate(state, rows)["loss"].compute() == 3 + 3
    assert (state.model_state["batch_stats"]["count"], after.model_state["batch_stats"]["count"]) == (0, 1)


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_each_part_of_the_loss_is_divided_by_its_weight_in_the_whole_batch():
    """Four images of values 1 to 4 with 0, 1, 2, 1 boxes and weights 2, 1, 0, 1, on one device and on two replicas."""
    rows = {
        "image": np.arange(1.0, 5, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones((4, 2, 2, 1), np.float32),
        "boxes": np.zeros((4, 2, 4), np.float32),
        "labels": np.array([[2, 0], [1, 0], [0, 0], [1, 0]], np.int32),
        "box_mask": np.array([[0, 0], [1, 0], [1, 1], [1, 0]], bool),
        "index": np.arange(4, dtype=np.int32),
    }
    one = toy_learner()
    state = one.init(jax.random.key(0), rows)
    value, metrics = one.loss(state.params, state, rows)
    # (2 * 1 + 1 * 2 + 0 * 3 + 1 * 4) / 4 = 2; (0 * 1 + 1 * 2 + 2 * 3 + 1 * 4) / 4 = 3
    assert float(value) == 5
    assert {name: metric.compute() for name, metric in metrics.items()} == {
        "loss": 5.0,
        "weighted": 2.0,
        "counted": 3.0,
        "boxes": 4,
        "share": 0.5,
    }
    masked, metrics = one.loss(state.params, state, {**rows, "mask": np.array([1, 1, 0, 0])})
    assert float(masked) == pytest.approx(4 / 3 + 2)
    assert metrics["boxes"].compute() == 1
    want, _ = one.update(state, rows)
    assert float(want.params["scale"]) == 1 - 5
    halves = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), rows)
    two = toy_learner()
    got, parts = jax.pmap(two.update, REPLICA, in_axes=(None, 0), devices=jax.devices()[:2])(state, halves)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], got.params), want.params)
    assert parts["loss"].collapse().compute() == pytest.approx(5)
    empty = {**rows, "labels": np.zeros((4, 2), np.int32), "box_mask": np.zeros((4, 2), bool)}
    value, metrics = one.loss(state.params, state, empty)
    assert float(value) == 0
    assert metrics["loss"].compute() is None


class First(nn.Module):
    """A parameter that starts at the mean of the first images, as initializers that look at data do."""

    given_proposals: bool = False
    num_stages: int = 1
    mask_head: None = None
    keypoint_head: None = None

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("mean", lambda key: x.mean())


@pytest.mark.parametrize("build", [dense.detector_learner, two_stage.learner, localization.learner, pose.learner])
def test_a_detector_is_initialized_by_prepared_images(build):
    parts = {"losses": None, "postprocess": None} if build is dense.detector_learner else {}
    learner = build(model=First(), optimizer=optax.sgd(0.1), preprocess=lambda images: 2 * images, **parts)
    batch = {"image": np.full((1, 2, 2, 1), 3, np.float32), "boxes": np.zeros((1, 1, 4), np.float32)}
    assert float(learner.init(jax.random.key(0), batch).params["mean"]) == 6


class Sized(nn.Module):
    """The mean of each image, and its size where the call has it; in training the true boxes."""

    takes_image_size = takes_targets = True

    @nn.compact
    def __call__(self, x, image_size=None, train=False, targets=None):
        if targets is not None:
            return Toy.Outputs((x.mean((1, 2)), *targets)), None
        locations = jnp.zeros(2) if image_size is None else 2 * image_size
        return Toy.Outputs(x.mean((1, 2))), locations


def test_detections_are_of_each_images_own_size():
    """Without sizes all images share the canvas and the locations; padding is zero, whatever it was."""
    learner = dense.detector_learner(
        model=Sized(),
        optimizer=optax.sgd(1.0),
        losses=toy_losses,
        postprocess=lambda outputs, locations, size: {"mean": outputs.value, "at": locations, "size": jnp.array(size)},
        preprocess=lambda images: images + 1,
    )
    state = ModelState(np.int32(0), jax.random.key(0), {}, (), {})
    batch = {"image": np.full((2, 2, 4, 1), 7, np.float32)}
    sizes = np.array([[2, 2], [1, 4]])
    plain, padded = jax.jit(
        lambda: (learner.predict(state, batch), learner.predict(state, {**batch, "image_size": sizes}))
    )()
    assert plain["mean"].tolist() == [[8], [8]]
    assert (plain["at"].tolist(), plain["size"].tolist()) == ([[0, 0]] * 2, [[2, 4]] * 2)
    assert padded["mean"].tolist() == [[4], [4]]  # half of each image is padding
    assert (padded["at"].tolist(), padded["size"].tolist()) == ((2 * sizes).tolist(), sizes.tolist())
    np.testing.assert_array_equal(padded["image_size"], sizes)


def test_true_boxes_reach_a_model_that_takes_them_in_training_alone():
    """A box from (1, 0) to (3, 2) of 2 x 4 pixels (rows, columns): center (1/2, 1/2), sides 1/2 and 1."""
    batch = {"image": np.zeros((1, 2, 4, 1), np.float32)}
    targets = np.array([[[1, 0, 3, 2]]], np.float32), np.array([[5]]), np.array([[True]])
    predict = jax.jit(lambda key: dense.predict_locations(Sized(), {}, {}, batch, key, targets)[0].outputs.value)
    _, boxes, labels, valid = predict(jax.random.key(0))
    assert boxes.tolist() == [[[0.5, 0.5, 0.5, 1]]]
    assert (labels.tolist(), valid.tolist()) == ([[5]], [[True]])
    (predictions, _) = jax.eval_shape(lambda: dense.predict_locations(Sized(), {}, {}, batch, None, targets))
    assert isinstance(predictions.outputs.value, jax.ShapeDtypeStruct)
