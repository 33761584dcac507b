"""R-CNN: what a region looks like, a call of the backbone for each, and its place in the lineage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import two_stage
from dlcore.detection.rcnn import RCNN, warp_regions
from dlcore.detection.sampling import sample_proposals
from dlcore.nn import Conv
from experiments.studies.rcnn_lineage import FastRCNN, Marked, backbone_calls, images_through, report
from experiments.studies.small_detectors import standardize, train


class Small(nn.Module):
    """One map, of stride 4."""

    @nn.compact
    def features(self, x, train=False):
        return {"stage4": nn.relu(Conv(8, (4, 4), 4, padding=0, name="conv")(x))}


def build(proposals, **fields):
    model = RCNN(Marked(Small()), 2, region_size=8, context=0.0, box_channels=16, **fields)
    settings = {"box_batch_size_per_image": proposals, "box_bg_iou_thresh": 0.3, "detections_per_img": 4}
    return two_stage.learner(model=model, optimizer=optax.adam(3e-3), preprocess=standardize, **settings)


def batch_of(count, proposals):
    """Scenes of 16 pixels with one red or blue square of 8; the first proposal is its box, the others are not near."""
    rng = np.random.default_rng(0)
    image, label = np.full((count, 16, 16, 3), 100, np.uint8), rng.integers(0, 2, count)
    corner = rng.integers(0, 2, (count, 2)) * 8
    boxes = np.concatenate([corner, corner + 8], 1).astype(np.float32)
    for picture, (x, y), kind in zip(image, corner, label, strict=True):
        picture[y : y + 8, x : x + 8, 2 * kind] = 250
    others = np.concatenate([(corner + 8) % 16, (corner + 8) % 16 + 8], 1).astype(np.float32)
    return {
        "image": image,
        "boxes": boxes[:, None],
        "labels": label[:, None].astype(np.int32),
        "box_mask": np.ones((count, 1), bool),
        "proposals": np.stack([boxes, *[others] * (proposals - 1)], 1),
        "proposal_mask": np.ones((count, proposals), bool),
        "index": np.arange(count, dtype=np.int32),
    }


@pytest.mark.covers("DE-06")
def test_a_region_is_warped_to_a_square_with_its_surroundings():
    ramp = np.broadcast_to(np.arange(16.0)[:, None], (16, 12))[None, ..., None]
    boxes = np.array([[[2.0, 4, 6, 12]]])
    warp = jax.jit(lambda *inputs: (warp_regions(*inputs, 4), warp_regions(*inputs, 4, context=0.5)))
    crop, wide = (np.asarray(crops)[0, 0, ..., 0] for crops in warp(ramp, boxes))
    # Rows 4 to 12 in four bins of two pixels, whose centers are at 4.5 and 5.5, ...: means 4.5, 6.5, 8.5, 10.5.
    np.testing.assert_allclose(crop, np.broadcast_to([[4.5], [6.5], [8.5], [10.5]], (4, 4)), rtol=1e-6)
    # Half as much again: rows 2 to 14 in bins of three.
    np.testing.assert_allclose(wide[:, 2], [3, 6, 9, 12], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.weekly(unless=["5"])
@pytest.mark.covers("DE-06")
@pytest.mark.parametrize("regions", [1, 5])
def test_n_regions_are_n_calls_of_the_backbone(regions):
    learner, batch = build(regions), batch_of(3, regions)
    state = learner.init(jax.random.key(0), batch)
    assert backbone_calls(learner, state, batch) == 3 * regions
    shared = {"stages": ("stage4",), "channels": 4, "extra_blocks": "none", "box_channels": 8}
    fast = two_stage.learner(model=FastRCNN(Marked(Small()), 2, **shared), optimizer=optax.sgd(0.1))
    assert backbone_calls(fast, jax.eval_shape(fast.init, jax.random.key(0), batch), batch) == 3


def test_calls_in_a_loop_are_counted_as_often_as_it_turns():
    net = Marked(Small())
    images = jnp.zeros((7, 2, 8, 8, 3))
    variables = net.init(jax.random.key(0), images[0], method="features")

    def looped(images):
        return jax.lax.map(lambda x: net.apply(variables, x, method="features")["stage4"].sum(), images)

    assert images_through(jax.make_jaxpr(looped)(images).jaxpr) == 14


@pytest.mark.covers("DE-06")
def test_regions_are_positive_negative_or_neutral_by_iou():
    """One box of 10 x 10; regions of width 10, 4, 2 in it have IoU 1, .4, .2: on it, neutral, background."""
    box = np.array([[0, 0, 10, 10]], np.float32)
    regions = np.array([[0, 0, 10, 10], [0, 0, 4, 10], [0, 0, 2, 10]], np.float32)
    sample = jax.jit(functools.partial(sample_proposals, count=8, positive_fraction=0.5, bg_iou_thresh=0.3))
    drawn = sample(jax.random.key(0), regions, np.ones(3, bool), box, np.array([1]), np.array([True]))
    kept = {tuple(b): int(t) for b, t, v in zip(drawn.boxes.tolist(), drawn.target, drawn.valid, strict=True) if v}
    assert kept == {(0, 0, 10, 10): 2, (0, 0, 2, 10): 0}


@pytest.mark.weekly
@pytest.mark.covers("DE-06")
def test_it_learns_to_name_the_proposals_and_leaves_the_background():
    learner, batch = build(4), batch_of(16, 4)
    state = train(learner, batch, 80, 16, 0)
    found = jax.jit(learner.predict)(state, batch)
    assert (found["labels"][:, 0] == batch["labels"][:, 0]).mean() > 0.9
    np.testing.assert_allclose(found["boxes"][:, 0], batch["boxes"][:, 0], atol=1.5)
    assert float(found["scores"][:, 0].mean()) > 0.8


@pytest.mark.slow
def test_the_lineage_is_judged_by_calls_and_time():
    rows = {
        name: {"map": 0.8, "map50": 0.9, "ms": ms, "with proposals": ms + 10, "calls": calls}
        for name, ms, calls in (("R-CNN", 90, 60), ("Fast R-CNN", 9, 1), ("Faster R-CNN", 8, 1))
    }
    assert report({}, rows, 60).holds
    assert not report({}, rows, 50).holds
    rows["Fast R-CNN"]["with proposals"] = 200
    assert not report({}, rows, 60).holds
