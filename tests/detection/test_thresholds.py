"""The least score and the largest number of detections reach the detections of each detector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import center_net, d_fine, deformable_detr, detr, fcos, retinanet, rt_detr, yolo_anchor_free
from dlcore.detection.anchors import Anchors, Grid
from dlcore.detection.dense import Thresholds
from dlcore.learner import ModelState

SCORES = np.array([0.9, 0.6, 0.3])
LOGITS = np.log(SCORES / (1 - SCORES))[:, None].astype(np.float32)
"""Of one class; the boxes are far apart."""
SIDES, SHIFTS = np.full(4, 32.0, np.float32), np.array([[0, 0], [0, 16], [16, 0]], np.float32)
QUERIES = np.concatenate([(SHIFTS + 4) / 32, np.full((3, 2), 0.25)], 1).astype(np.float32)[None]
BOXES = np.concatenate([SHIFTS, SHIFTS + 8], 1)


def on_grid(values, side, empty):
    """[side * side, C]: the values at every second location, of which none is beside another."""
    found = np.full((side, side, values.shape[-1]), empty, np.float32)
    found[0, 0], found[0, 2], found[2, 0] = values
    return found


GRID = Grid.of([(4, 4)], (32, 32))
CELLS = on_grid(LOGITS, 4, -9)
NEAR = np.full((16, 4), 0.25, np.float32)


class Given(nn.Module):
    """The given outputs for each image."""

    outputs: Any
    locations: Any

    @nn.compact
    def __call__(self, images, train=False):
        return jax.tree.map(lambda x: jnp.asarray(x)[None].repeat(len(images), 0), self.outputs), self.locations


DETECTORS = {
    center_net: (center_net.Outputs(CELLS, np.ones((4, 4, 2)), np.full((4, 4, 2), 0.5)), GRID),
    detr: (detr.Outputs(np.concatenate([LOGITS, np.zeros((3, 1))], 1)[None], QUERIES), SIDES),
    fcos: (fcos.Outputs(CELLS.reshape(16, 1), NEAR, CELLS.reshape(16)), GRID),
    retinanet: (retinanet.Outputs(LOGITS, np.zeros((3, 4), np.float32)), Anchors(BOXES, (3,))),
    yolo_anchor_free: (yolo_anchor_free.Outputs(CELLS.reshape(16, 1), np.zeros((16, 4, 2), np.float32)), GRID),
} | {module: (detr.Outputs(LOGITS[None], QUERIES), SIDES) for module in (deformable_detr, rt_detr, d_fine)}


@pytest.mark.slow(only=["fcos", "retinanet", "yolo_anchor_free"])
@pytest.mark.parametrize("module", DETECTORS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_least_score_and_a_largest_number_reach_the_detections(module):
    grouped = module in (fcos, retinanet, yolo_anchor_free)
    state = ModelState(np.int32(0), jax.random.key(0), {}, (), {})
    found = []
    for least, most in ((0.5, 9), (0.1, 1)):
        settings = {"score_thresh": least, "detections_per_img": most}
        settings = {"thresholds": Thresholds(**settings)} if grouped else settings
        learner = module.learner(model=Given(*DETECTORS[module]), optimizer=optax.identity(), **settings)
        detections = jax.jit(learner.predict)(state, {"image": np.zeros((1, 32, 32, 3), np.float32)})
        found.append(np.array(detections["scores"])[np.array(detections["valid"])])
    for scores, count in zip(found, (2, 1), strict=True):
        np.testing.assert_allclose(scores, SCORES[:count], rtol=1e-5)
