"""Cascade R-CNN: how boxes pass from head to head, what each head is trained on, and one head as Faster R-CNN."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import two_stage
from dlcore.detection.cascade_rcnn import CascadeRCNN, mean_outputs, refine_boxes, stage_weights
from dlcore.detection.faster_rcnn import BoxOutputs, FasterRCNN
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.nn import Conv
from tests.detection.detectors import Small
from tests.wiring import assert_wiring

FIELDS = {"stages": ("only",), "channels": 8, "extra_blocks": "none", "scales": (2.0,), "aspect_ratios": (1.0,)}
SETTINGS = {
    "num_proposals": 6, "topk_candidates": 10, "rpn_batch_size_per_image": 8, "box_batch_size_per_image": 4,
    "detections_per_img": 5,
}  # fmt: skip


class Backbone(nn.Module):
    @nn.compact
    def features(self, x, train=False):
        return {"only": nn.relu(Conv(4, (3, 3), 8, padding=1, name="conv")(x))}


def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(2, 32, 32, 3)).astype(np.float32),
        "boxes": np.array([[[2, 3, 18, 20], [0, 0, 0, 0]], [[8, 8, 30, 28], [0, 0, 9, 12]]], np.float32),
        "labels": np.array([[1, -1], [0, 1]]),
        "box_mask": np.array([[True, False], [True, True]]),
        "index": np.arange(2),
    }


@pytest.mark.covers("DE-31")
def test_a_box_moves_by_the_deltas_of_its_likeliest_class():
    """By the second head, whose weights are 20, 20, 10, 10: delta 2 moves the center by 2 / 20 of the width 20, by 2
    pixels; delta 10 log 2 doubles the height. The background's higher score does not count."""
    assert stage_weights(1) == (20, 20, 10, 10)
    deltas = np.zeros((1, 3, 4), np.float32)
    deltas[0, 2], deltas[0, 1] = [2, 0, 0, 10 * np.log(2)], [9, 9, 9, 9]
    outputs = BoxOutputs(jnp.array([[5.0, 0, 1]]), jnp.asarray(deltas))
    # From center (20, 20) and sides 20 and 10 to center (22, 20) and sides 20 and 20, cut off at 30.
    boxes = refine_boxes(outputs, jnp.array([[10.0, 15, 30, 25]]), (40, 30), stage=1)
    np.testing.assert_allclose(boxes, [[12, 10, 30, 30]], rtol=1e-5)


@pytest.mark.covers("DE-31")
def test_scores_are_the_mean_of_the_heads():
    logits = [jnp.log(jnp.array([[0.2, 0.8]])), jnp.log(jnp.array([[0.6, 0.4]]))]
    deltas = [jnp.zeros((1, 2, 4)), jnp.ones((1, 2, 4))]
    mean = mean_outputs([BoxOutputs(*pair) for pair in zip(logits, deltas, strict=True)])
    np.testing.assert_allclose(jax.nn.softmax(mean.logits), [[0.4, 0.6]], rtol=1e-5)
    np.testing.assert_array_equal(mean.deltas, deltas[1])


@pytest.mark.weekly
@pytest.mark.covers("DE-31")
def test_each_head_is_trained_by_its_own_overlap_and_the_first_is_that_of_faster_rcnn():
    """Three heads have three losses; the first head's do not depend on the others, and equal those of one head alone.

    With a threshold of 1, no region but the true boxes themselves is on an object: they have no error of their own.
    """
    one, rows = FasterRCNN(Backbone(), 2, **FIELDS), batch()
    three = CascadeRCNN(Backbone(), 2, **FIELDS)
    strict = {**SETTINGS, "cascade_iou_thresh": (0.6, 1.0)}
    learner = two_stage.learner(model=three, optimizer=optax.sgd(0.1), **strict)
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    metrics = jax.device_get(jax.jit(learner.evaluate)(state, rows))
    plain = two_stage.learner(model=one, optimizer=optax.sgd(0.1), **SETTINGS)
    params = {name: value for name, value in state.params.items() if not name.startswith("later_heads")}
    expected = jax.device_get(jax.jit(plain.evaluate)(state.replace(params=params), rows))
    for name in ("classification", "box", "rpn_objectness" if "rpn_objectness" in expected else "classification"):
        chex.assert_trees_all_close(metrics[name], expected[name], rtol=1e-5)
    assert {"classification_2", "box_2", "classification_3", "box_3"} <= set(metrics)
    after, _ = jax.jit(learner.update)(state, rows)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    assert all(jax.tree.leaves(moved["later_heads_1"]["cls_score"]))
    detections = jax.jit(learner.predict)(state, rows)
    chex.assert_shape(detections["boxes"], (2, 5, 4))


def test_heads_and_thresholds_must_fit():
    model = CascadeRCNN(Backbone(), 2, **FIELDS)
    with pytest.raises(ValueError, match=r"cascade_iou_thresh=\(0.6,\): 1 thresholds; allowed: 2, one a box head"):
        two_stage.learner(model=model, optimizer=optax.sgd(0.1), cascade_iou_thresh=(0.6,))


@pytest.mark.covers("DE-31")
def test_the_wiring_of_cascade_rcnn_is_as_it_was():
    """A regression: the number holds the code as it was, that of Faster R-CNN with keypoints, too."""
    model = CascadeRCNN(Small(), 2, None, KeypointHead(1, 3, 0), stages=("fine", "coarse"), channels=4, box_channels=6,
                        num_stages=2)  # fmt: skip
    boxes = np.array([[[0.0, 0, 9, 9], [4, 4, 30, 20]]])
    assert_wiring(model, (1, 32, 32, 3), boxes, [869.178075, 50.503784])
