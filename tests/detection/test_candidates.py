"""What each dense detector hands to the suppression: scores, boxes, labels and levels by hand, and its settings."""

import inspect

import jax
import numpy as np
import pytest

from dlcore.detection import (
    anchor_detector,
    dense,
    detr,
    faster_rcnn,
    fcos,
    query_losses,
    retinanet,
    rpn,
    single_stage,
    sliding_window,
    ssd,
    yolo,
    yolo_anchor_free,
)
from dlcore.detection.anchors import Anchors, Grid

GRID = Grid.of([(2, 2), (1, 1)], (16, 16))
"""Locations (0, 0), (8, 0), (0, 8) and (8, 8) on stride 8, and (0, 0) on stride 16."""
CORNERS = np.array([[0, 0, 8, 6], [8, 0, 14, 8], [1, 8, 8, 16], [7, 8, 16, 15], [2, 1, 15, 16]], np.float32)
ANCHORS = Anchors(CORNERS, (4, 1))
SETTINGS = {"score_thresh": 0.2, "nms_thresh": 0.6, "detections_per_img": 2}
SIZE = (16, 15)


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def decoded(deltas, anchors, weights):
    """The box of deltas: its center moves by shares of the anchor's sides, which grow by exponentials."""
    deltas, sides = deltas / weights, anchors[..., 2:] - anchors[..., :2]
    center = anchors[..., :2] + sides / 2 + deltas[..., :2] * sides
    half = sides * np.exp(deltas[..., 2:]) / 2
    return np.concatenate([center - half, center + half], -1)


def by_level(scores, boxes, counts, most):
    """Rows (box, score, label, level): of each level the best pairs of a location and a class."""
    rows, start = [], 0
    for level, count in enumerate(counts):
        pairs = [(scores[i, c], i, c) for i in range(start, start + count) for c in range(scores.shape[1])]
        rows += [(boxes[i], score, c, level) for score, i, c in sorted(pairs, reverse=True)[:most]]
        start += count
    return rows


def by_class(scores, boxes, most):
    """Rows (box, score, label, level): of each class the best locations, all of level 0."""
    pairs = [(c, i) for c in range(scores.shape[1]) for i in np.argsort(-scores[:, c])[:most]]
    return [(boxes[i] if boxes.ndim == 2 else boxes[i, c], scores[i, c], c, 0) for c, i in pairs]


@pytest.fixture
def check(monkeypatch):
    """Run a detector whose suppression returns its candidates."""

    def run(module, call, rows, size=SIZE, **settings):
        seen = {}

        def select(candidates, size, **settings):
            seen.update(settings, size=size)
            return candidates._asdict() | {"valid": candidates.scores > 0}

        monkeypatch.setattr(module, "select", select)
        found = jax.jit(call)()
        expected = [np.stack(column) for column in zip(*rows, strict=True)]
        for name, values in zip(dense.Candidates._fields, expected, strict=True):
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        assert seen == settings | {"size": size}

    return run


@pytest.mark.covers("DE-19", "DE-21")
def test_fcos_scores_by_class_and_centerness(check):
    logits, center, distances = numbers(0, 5, 3), numbers(1, 5), np.abs(numbers(2, 5, 4))
    scores = np.sqrt(sigmoid(logits) * sigmoid(center)[:, None])
    reach = distances * np.array([8, 8, 8, 8, 16])[:, None] * np.array([-1, -1, 1, 1])
    boxes = np.tile([[0, 0], [8, 0], [0, 8], [8, 8], [0, 0]], 2) + reach
    outputs = fcos.Outputs(logits, distances, center)
    rows = by_level(scores, boxes, (4, 1), 5)
    check(fcos, lambda: fcos.postprocess(outputs, GRID, SIZE, topk_candidates=5, **SETTINGS), rows, **SETTINGS)


@pytest.mark.covers("DE-33")
def test_anchor_free_yolo_has_boxes_of_mean_distances(check):
    logits, sides = numbers(0, 5, 3), numbers(1, 5, 4, 3)
    distances = softmax(sides) @ [0, 1, 2]
    reach = distances * np.array([8, 8, 8, 8, 16])[:, None] * np.array([-1, -1, 1, 1])
    boxes = np.tile([[0, 0], [8, 0], [0, 8], [8, 8], [0, 0]], 2) + reach
    outputs = yolo_anchor_free.Outputs(logits, sides)
    rows = by_level(sigmoid(logits), boxes, (4, 1), 5)
    call = yolo_anchor_free.postprocess
    check(yolo_anchor_free, lambda: call(outputs, GRID, SIZE, topk_candidates=5, **SETTINGS), rows, **SETTINGS)


@pytest.mark.covers("DE-18")
def test_retinanet_has_a_sigmoid_a_class_and_deltas_as_they_are(check):
    outputs = retinanet.Outputs(numbers(0, 5, 3), 0.2 * numbers(1, 5, 4))
    rows = by_level(sigmoid(outputs.logits), decoded(outputs.deltas, CORNERS, np.ones(4)), (4, 1), 4)
    call = retinanet.postprocess
    check(anchor_detector, lambda: call(outputs, ANCHORS, SIZE, topk_candidates=4, **SETTINGS), rows, **SETTINGS)


def test_a_single_stage_detector_leaves_the_background_out(check):
    outputs = single_stage.Outputs(numbers(0, 5, 3), numbers(1, 5, 4))
    scores, boxes = softmax(outputs.logits)[:, 1:], decoded(outputs.deltas, CORNERS, np.array([10, 10, 5, 5]))
    call = single_stage.postprocess
    rows = by_level(scores, boxes, (4, 1), 4)
    check(anchor_detector, lambda: call(outputs, ANCHORS, SIZE, topk_candidates=4, **SETTINGS), rows, **SETTINGS)


@pytest.mark.covers("DE-17")
def test_ssd_takes_the_best_of_each_class(check):
    outputs = single_stage.Outputs(numbers(0, 5, 3), numbers(1, 5, 4))
    scores, boxes = softmax(outputs.logits)[:, 1:], decoded(outputs.deltas, CORNERS, np.array([10, 10, 5, 5]))
    rows = by_class(scores, boxes, 4)
    call = ssd.postprocess
    settings = SETTINGS | {"num_blocks": 2}
    check(ssd, lambda: call(outputs, ANCHORS, SIZE, topk_candidates=4, **SETTINGS), rows, **settings)


@pytest.mark.parametrize("classifier", ["softmax", "svm"])
@pytest.mark.covers("DE-13")
def test_the_second_stage_has_a_box_for_each_class_and_none_of_padding(check, classifier):
    logits, deltas = numbers(0, 5, 3), numbers(1, 5, 3, 4)
    mask = np.array([True, True, False, True, True])
    scores = mask[:, None] * (sigmoid(logits[:, 1:]) if classifier == "svm" else softmax(logits)[:, 1:])
    boxes = decoded(deltas[:, 1:], CORNERS[:, None], np.array([20, 10, 5, 4]))
    outputs, more = faster_rcnn.BoxOutputs(logits, deltas), {"classifier": classifier, "weights": (20, 10, 5, 4)}
    settings = SETTINGS | {"min_size": 0.01, "num_blocks": 2}
    call = faster_rcnn.postprocess
    rows = by_class(scores, boxes, 5)
    check(faster_rcnn, lambda: call(outputs, CORNERS, mask, SIZE, **more, **SETTINGS), rows, **settings)


@pytest.mark.covers("DE-13")
def test_proposals_are_the_best_anchors_of_each_level(monkeypatch):
    outputs, seen = rpn.Outputs(numbers(0, 5), 0.2 * numbers(1, 5, 4)), {}

    def select(candidates, size, **settings):
        seen.update(settings, size=size)
        return {"boxes": candidates.boxes, "valid": candidates.scores}

    monkeypatch.setattr(rpn, "select", select)
    settings = {"topk_candidates": 3, "num_proposals": 7, "nms_thresh": 0.6}
    boxes, scores = jax.jit(lambda: rpn.propose(outputs, ANCHORS, SIZE, **settings))()
    decoded_boxes = decoded(outputs.deltas, CORNERS, np.ones(4))
    rows = by_level(sigmoid(outputs.objectness)[:, None], decoded_boxes, (4, 1), 3)
    np.testing.assert_allclose(boxes, [row[0] for row in rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores, [row[1] for row in rows], rtol=1e-5)
    fixed = {"score_thresh": 0.0, "min_size": 1e-3, "within": "levels"}
    assert seen == fixed | {"nms_thresh": 0.6, "detections_per_img": 7, "size": SIZE}


@pytest.mark.covers("DE-16")
def test_yolo_scores_by_confidence_and_class_between_0_and_1(check):
    """Two cells of 20 x 20 pixels with two boxes each: x, y, sqrt w, sqrt h and confidence; then two classes."""
    cells = np.array(
        [
            [0.5, 0.25, 0.6, 0.7, 1.5, 0.1, 0.9, 0.3, 0.2, 0.4, 0.8, 0.5],
            [0.3, 0.6, 0.2, 0.9, -0.2, 0.7, 0.7, 0.5, 0.5, 0.9, 0.3, 1.2],
        ],
        np.float32,
    )
    boxes, scores = [], []
    for corner, row in zip(([0, 0], [20, 0]), cells, strict=True):
        for x, y, w, h, confidence in row[:10].reshape(2, 5):
            center, half = np.add(corner, [20 * x, 20 * y]), np.array([40 * w**2, 20 * h**2]) / 2
            boxes.append([*(center - half), *(center + half)])
            scores.append(np.clip(confidence, 0, 1) * np.clip(row[10:], 0, 1))
    outputs, grid = yolo.Outputs(cells), yolo.Cells((1, 2), (20, 40), 2)
    rows = by_level(np.array(scores), np.array(boxes), (4,), 6)
    check(yolo, lambda: yolo.postprocess(outputs, grid, SIZE, topk_candidates=6, **SETTINGS), rows, **SETTINGS)


def test_queries_have_boxes_of_the_last_layer_and_are_not_suppressed(monkeypatch):
    """Three queries of two layers, boxes of centers and sides in a canvas of 16 x 10, clipped to 15 x 9 pixels.

    With a class "no object" a query has its likeliest class; with a logit a class each pair is a candidate.
    """
    for module in (detr, query_losses):
        monkeypatch.setattr(module, "best_detections", lambda *candidates: candidates[:4])
        assert inspect.signature(module.postprocess).parameters["score_thresh"].default == 0.05
    logits, boxes = numbers(0, 2, 3, 3), np.random.default_rng(1).uniform(0.2, 0.9, (2, 3, 4)).astype(np.float32)
    sides, outputs = np.float32([16, 10, 16, 10]), detr.Outputs(logits, boxes)

    @jax.jit
    def run():
        settings = {"score_thresh": 0.3, "detections_per_img": 4}
        return [module.postprocess(outputs, sides, (9, 15), **settings) for module in (detr, query_losses)]

    (found, scores, labels, kept), pairs = run()
    center, half = boxes[1, :, :2] * [16, 10], boxes[1, :, 2:] * [16, 10] / 2
    corners = np.concatenate([center - half, center + half], -1).clip(0, [15, 9, 15, 9])
    np.testing.assert_allclose(found, corners, rtol=1e-5, atol=1e-5)
    chances = softmax(logits[1])[:, :2]
    np.testing.assert_allclose(scores, chances.max(-1), rtol=1e-5)
    np.testing.assert_array_equal(labels, chances.argmax(-1))
    np.testing.assert_array_equal(kept, chances.max(-1) > 0.3)
    found, scores, labels, kept = pairs
    np.testing.assert_allclose(found, corners.repeat(3, 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores, sigmoid(logits[1]).ravel(), rtol=1e-5)
    np.testing.assert_array_equal(labels, [0, 1, 2] * 3)
    np.testing.assert_array_equal(kept, sigmoid(logits[1]).ravel() > 0.3)


@pytest.mark.covers("DE-03")
def test_a_sliding_window_scores_crops_in_batches(check):
    """Six windows of 2 x 2 in batches of four, the last one padded; each of the two classes has a channel's mean."""
    image = np.random.default_rng(0).uniform(size=(3, 4, 2)).astype(np.float32)
    boxes = sliding_window.window_boxes((3, 4), [(2, 2)], 1)
    means = np.array([image[y : y + 2, x : x + 2].mean((0, 1)) for y in range(2) for x in range(3)])
    more = {"batch_size": 4, "sampling_ratio": 1, "topk_candidates": 5}

    def call():
        return sliding_window.sliding_window(lambda crops: crops.mean((1, 2)), image, boxes, (2, 2), **more, **SETTINGS)

    check(sliding_window, call, by_class(means, boxes, 5), size=(3, 4), **SETTINGS)
