"""Places by hand, and post-processing against torchvision's four kinds of detector."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.dense import Anchors, Candidates, Grid, best_by_class, best_by_level, select
from dlcore.ops.boxes import decode_boxes, distances_to_boxes

GOLDENS = Path(__file__).parents[1] / "goldens"
GOLDEN = np.load(GOLDENS / "tvdet_postprocess.npz")
CASES = {name: case["args"] for name, case in json.loads(str(GOLDEN["meta"]))["cases"].items()}


def given(case, *names):
    return (jnp.asarray(GOLDEN[f"{case}/in.{name}"]) for name in names)


def candidates_of(case):
    """(candidates of each image, further settings of select)."""
    settings = CASES[case]
    if case == "retinanet":
        logits, deltas, anchors = given(case, "cls_logits", "bbox_regression", "anchors")
        boxes, scores = decode_boxes(deltas, anchors), jax.nn.sigmoid(logits)
    elif case == "fcos":
        logits, deltas, centre, anchors = given(case, "cls_logits", "bbox_regression", "bbox_ctrness", "anchors")
        size = jnp.tile(anchors[:, 2:] - anchors[:, :2], 2)
        boxes = distances_to_boxes((anchors[:, :2] + anchors[:, 2:]) / 2, deltas * size)
        scores = jnp.sqrt(jax.nn.sigmoid(logits) * jax.nn.sigmoid(centre))
    elif case == "rpn":
        boxes, logits = given(case, "proposals", "objectness")
        scores = jax.nn.sigmoid(logits.reshape(2, -1, 1))
    elif case == "ssd":
        logits, deltas, anchors = given(case, "cls_logits", "bbox_regression", "anchors")
        boxes, scores = decode_boxes(deltas, anchors, (10, 10, 5, 5)), jax.nn.softmax(logits)[..., 1:]
        return [best_by_class(s, b, settings["topk_candidates"]) for s, b in zip(scores, boxes, strict=True)], {}
    else:
        logits, deltas, proposals = given(case, "class_logits", "box_regression", "proposals")
        boxes = decode_boxes(deltas.reshape(len(deltas), -1, 4), proposals[:, None], (10, 10, 5, 5))[:, 1:]
        parts = np.cumsum(settings["proposals_per_image"])[:-1]
        scores, boxes = jnp.split(jax.nn.softmax(logits)[:, 1:], parts), jnp.split(boxes, parts)
        return [best_by_class(s, b) for s, b in zip(scores, boxes, strict=True)], {"min_size": 0.01}
    most, extra = settings.get("topk_candidates"), {}
    if case == "rpn":
        most, extra = settings["pre_nms_top_n"], {"min_size": settings["min_size"], "within": "levels"}
    return [best_by_level(s, b, settings["anchors_per_level"], most) for s, b in zip(scores, boxes, strict=True)], extra


@pytest.mark.covers("DE-21")
@pytest.mark.parametrize("case", ["retinanet", "fcos", "ssd", "fasterrcnn", "rpn"])
def test_postprocessing_equals_torchvision(case):
    settings, (images, extra) = CASES[case], candidates_of(case)
    count = settings.get("detections_per_img", settings.get("post_nms_top_n"))
    for i, candidates in enumerate(images):
        found = select(
            candidates, tuple(settings["image_size"]), score_threshold=settings["score_thresh"],
            nms_threshold=settings["nms_thresh"], detections=count, **extra,
        )  # fmt: skip
        valid = np.asarray(found["valid"])
        want = {k: GOLDEN[f"{case}/out.{i}.{k}"] for k in ("boxes", "scores")}
        assert valid.sum() == len(want["scores"])
        np.testing.assert_allclose(found["scores"][valid], want["scores"], rtol=1e-5)
        np.testing.assert_allclose(found["boxes"][valid], want["boxes"], rtol=1e-4, atol=1e-4)
        if case != "rpn":
            first = 1 if case in ("ssd", "fasterrcnn") else 0  # torchvision counts its background
            np.testing.assert_array_equal(found["labels"][valid] + first, GOLDEN[f"{case}/out.{i}.labels"])


def some(scores, labels=None):
    count = len(scores)
    boxes = jnp.array([[10.0 * i, 0, 10 * i + 8, 8] for i in range(count)])
    labels = jnp.zeros(count, int) if labels is None else jnp.asarray(labels)
    return Candidates(boxes, jnp.asarray(scores), labels, jnp.zeros(count, int))


@pytest.mark.covers("DE-21")
def test_ties_keep_the_first_and_an_empty_image_is_all_padding():
    found = select(some([0.5, 0.5, 0.5]), (100, 100), score_threshold=0.2, nms_threshold=0.5, detections=2)
    np.testing.assert_array_equal(found["boxes"][:, 0], [0, 10])
    same = some([0.5, 0.5])._replace(boxes=jnp.array([[0.0, 0, 8, 8]] * 2))
    found = select(same, (100, 100), score_threshold=0.2, nms_threshold=0.5, detections=2)
    np.testing.assert_array_equal(found["valid"], [True, False])
    empty = select(some([0.1, 0.2]), (100, 100), score_threshold=0.2, nms_threshold=0.5, detections=4)
    assert not empty["valid"].any()
    np.testing.assert_array_equal(empty["labels"], -1)
    np.testing.assert_array_equal(empty["boxes"], 0)
    np.testing.assert_array_equal(empty["scores"], 0)


def test_one_place_may_be_of_two_classes():
    candidates = best_by_level(jnp.array([[0.9, 0.8]]), jnp.array([[0.0, 0, 4, 4]]), [1], 5)
    found = select(candidates, (10, 10), score_threshold=0.1, nms_threshold=0.5, detections=3)
    np.testing.assert_array_equal(found["labels"], [0, 1, -1])


@pytest.mark.covers("DE-20")
def test_places_of_strides_8_to_128():
    # P3 to P7 of a 256 x 128 image; the farthest side is in (0, 64], (64, 128], (128, 256], (256, 512], (512, inf).
    sizes = [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    grid = Grid.of(sizes, (256, 128))
    assert grid.counts == (512, 128, 32, 8, 2)
    first = np.cumsum((0, *grid.counts[:-1]))
    np.testing.assert_array_equal(grid.strides[first], [8, 16, 32, 64, 128])
    np.testing.assert_array_equal(grid.low[first], [0, 64, 128, 256, 512])
    np.testing.assert_array_equal(grid.high[first], [64, 128, 256, 512, np.inf])
    np.testing.assert_array_equal(grid.points[:3], [[0, 0], [8, 0], [16, 0]])
    np.testing.assert_array_equal(grid.points[16], [0, 8])  # the second row
    np.testing.assert_array_equal(grid.points[-1], [0, 128])


def test_an_image_that_the_strides_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="100x128"):
        Grid.of([(13, 16)], (100, 128))


def test_anchors_by_hand():
    anchors = Anchors.of([(2, 2), (1, 1)], (32, 32), scales=(1.0, 2.0), ratios=(1.0, 4.0))
    assert anchors.counts == (16, 4)
    assert anchors.boxes.shape == (20, 4)
    # At (16, 0), the second place of stride 16: sides 16 and 32, then half as wide and twice as high.
    want = [[8, -8, 24, 8], [0, -16, 32, 16], [12, -16, 20, 16], [8, -32, 24, 32]]
    np.testing.assert_array_equal(anchors.boxes[4:8], want)
    np.testing.assert_array_equal(anchors.boxes[16], [-16, -16, 16, 16])  # stride 32


@pytest.mark.parametrize("name", ["scales", "ratios"])
def test_anchors_without_a_size_are_refused(name):
    for wrong in ((), (1.0, 0.0)):
        with pytest.raises(ValueError, match=name):
            Anchors.of([(2, 2)], (32, 32), **{name: wrong})


def test_anchors_are_retinanets():
    golden = np.load(GOLDENS / "tvdet_retinanet_resnet50_fpn.npz")
    about = json.loads(str(golden["meta"]))
    anchors = Anchors.of([(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)], (128, 160))
    stored = about["outputs"]["anchors"]
    assert list(anchors.boxes.shape) == stored["shape"]
    np.testing.assert_array_equal(anchors.boxes.reshape(-1)[:: stored["stride"]], golden["anchors"].reshape(-1))
