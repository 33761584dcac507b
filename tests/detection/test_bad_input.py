"""Boxes, labels, scores and settings of detectors that do not fit: each is named before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.detection import (
    center_net,
    detr,
    fcos,
    query_losses,
    retinanet,
    rpn,
    single_stage,
    ssd,
    yolo,
    yolo_anchor_free,
)
from dlcore.detection.anchors import Anchors, Grid

KEY, NAN = jax.random.key(0), float("nan")
BOXES, FLIPPED = np.float32([[0, 0, 4, 4], [2, 2, 6, 8]]), np.float32([[4, 0, 0, 4], [2, 2, 6, 8]])
LABELS, VALID = np.array([0, 1]), np.array([True, True])
GRID, ANCHORS = Grid.of([(2, 2)], (8, 8)), Anchors.of([(2, 2)], (8, 8), (1.0,), (1.0,))
MAPS, LOGITS, DELTAS = np.zeros((1, 4, 4, 8), np.float32), np.zeros((4, 2), np.float32), np.zeros((4, 4), np.float32)
CELLS = yolo.Cells((2, 2), (8, 8), 1)
QUERIES = detr.Outputs(np.zeros((1, 4, 3), np.float32), np.full((1, 4, 4), 0.5, np.float32))
SIDES = np.float32([8, 8, 8, 8])
CENTERS = center_net.Outputs(*(np.zeros((2, 2, 2), np.float32) for _ in range(3)))


def losses(name, boxes=BOXES, labels=LABELS, valid=VALID, **settings):
    """Losses of a detector of two classes on a map of 2 x 2."""
    anchor_outputs = {"retinanet": 2, "single_stage": 3, "ssd": 3}
    if name in anchor_outputs:
        module = {"retinanet": retinanet, "single_stage": single_stage, "ssd": ssd}[name]
        outputs = module.Outputs(np.zeros((4, anchor_outputs[name]), np.float32), DELTAS)
        return module.image_losses(outputs, ANCHORS, boxes, labels, valid, **settings)
    if name == "rpn":
        return rpn.image_losses(KEY, rpn.Outputs(LOGITS[:, 0], DELTAS), ANCHORS, boxes, valid, **settings)
    if name == "fcos":
        outputs = fcos.Outputs(LOGITS, DELTAS, LOGITS[:, 0])
        return fcos.image_losses(outputs, GRID, boxes, labels, valid, **settings)
    if name == "yolo":
        outputs = yolo.Outputs(np.zeros((4, 7), np.float32))
        return yolo.image_losses(outputs, CELLS, boxes, labels, valid, **settings)
    if name == "center_net":
        return center_net.image_losses(CENTERS, GRID, boxes, labels, valid, **settings)
    if name == "yolo_anchor_free":
        outputs = yolo_anchor_free.Outputs(LOGITS, np.zeros((4, 4, 3), np.float32))
        return yolo_anchor_free.image_losses(outputs, GRID, boxes, labels, valid, **settings)
    module = {"detr": detr, "query_losses": query_losses}[name]
    classes = 3 if name == "detr" else 2
    outputs = detr.Outputs(QUERIES.logits[..., :classes], QUERIES.boxes)
    return module.image_losses(outputs, SIDES, boxes, labels, valid, **settings)


def test_traced_boxes_and_labels_pass():
    """Inside jit, values are not checked: wrong labels give what they gave."""
    boxes = jnp.asarray(BOXES)
    call = jax.jit(lambda labels: losses("retinanet", boxes, labels)["num_foreground"])
    assert jax.eval_shape(call, jnp.array([0, 7])).shape == ()
