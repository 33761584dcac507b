"""Post-processing against torchvision's kinds of detector, ties, and padding."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection import dense
from dlcore.detection.dense import Candidates, topk_by_class, topk_by_level
from dlcore.ops.boxes import decode_boxes, distances_to_boxes

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


@pytest.mark.covers("DE-21")
@pytest.mark.parametrize("case", ["retinanet", "fcos", "ssd", "fasterrcnn", "rpn"])
def test_postprocessing_equals_torchvision(case):
    settings, (images, extra) = CASES[case], candidates_of(case)
    count = settings.get("detections_per_img", settings.get("post_nms_top_n"))
    for i, candidates in enumerate(images):
        detections = select(
            candidates,
            tuple(settings["image_size"]),
            score_thresh=settings["score_thresh"],
            nms_thresh=settings["nms_thresh"],
            detections_per_img=count,
            **extra,
        )
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


@pytest.mark.covers("DE-21")
def test_ties_keep_the_first_and_an_empty_image_is_all_padding():
    detections = select(
        candidates_with([0.5, 0.5, 0.5]), (100, 100), score_thresh=0.2, nms_thresh=0.5, detections_per_img=2
    )
    np.testing.assert_array_equal(detections["boxes"][:, 0], [0, 10])
    same = candidates_with([0.5, 0.5])._replace(boxes=jnp.array([[0.0, 0, 8, 8]] * 2))
    detections = select(same, (100, 100), score_thresh=0.2, nms_thresh=0.5, detections_per_img=2)
    np.testing.assert_array_equal(detections["valid"], [True, False])
    empty = select(candidates_with([0.1, 0.2]), (100, 100), score_thresh=0.2, nms_thresh=0.5, detections_per_img=4)
    assert not empty["valid"].any()
    np.testing.assert_array_equal(empty["labels"], -1)
    np.testing.assert_array_equal(empty["boxes"], 0)
    np.testing.assert_array_equal(empty["scores"], 0)


def test_one_location_may_be_of_two_classes():
    candidates = topk_by_level(jnp.array([[0.9, 0.8]]), jnp.array([[0.0, 0, 4, 4]]), [1], 5)
    detections = select(candidates, (10, 10), score_thresh=0.1, nms_thresh=0.5, detections_per_img=3)
    np.testing.assert_array_equal(detections["labels"], [0, 1, -1])
