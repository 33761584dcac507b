"""Anchor-free YOLO: one update by hand with each assignment, boxes of distributions, the network, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import yolo_anchor_free
from dlcore.detection.anchors import Grid
from dlcore.detection.yolo_anchor_free import AnchorFreeYOLO, Outputs, YOLOWeights
from dlcore.learner import ModelState
from dlcore.nn import Conv
from tests.wiring import assert_wiring

GRID = Grid.of([(2, 2)], (16, 16))
"""Locations (0, 0), (8, 0), (0, 8) and (8, 8) on stride 8."""


class Constant(nn.Module):
    """Parameters as outputs, for any image."""

    @nn.compact
    def __call__(self, x, train=False):
        shapes = {"logits": (4, 2), "side_logits": (4, 4, 3)}
        parts = {name: self.param(name, nn.initializers.zeros, shape) for name, shape in shapes.items()}
        return Outputs(**{name: jnp.broadcast_to(part, (len(x), *part.shape)) for name, part in parts.items()}), GRID


BATCH = {
    "image": np.zeros((2, 16, 16, 3), np.float32),
    "boxes": np.array([[[2, 4, 14, 13], [0, 0, 16, 16]], [[-2, 2, 12, 12], [1, 1, 1, 1]]], np.float32),
    "labels": np.array([[1, 0], [0, 1]]),
    "box_mask": np.array([[True, False], [True, False]]),
    "index": np.arange(2),
}


@pytest.mark.slow(unless=["evaluate-task_aligned"])
@pytest.mark.covers("DE-33")
@pytest.mark.parametrize("assignment", ["task_aligned", "sim_ota"])
@pytest.mark.parametrize("step", ["evaluate", "update"])
def test_one_step_by_hand(assignment, step):
    """(8, 8) alone lies in the first image's box; (0, 8) and (8, 8) lie in the second's."""
    rate, rng = 0.01, np.random.default_rng(0)
    weights = YOLOWeights(0.6, 5.0, 1.2)
    settings = {"assignment": assignment, "alignment_alpha": 1.0, "alignment_beta": 2.0, "weights": weights}
    learner = yolo_anchor_free.learner(model=Constant(), optimizer=optax.sgd(rate), **settings)
    params = {"logits": rng.normal(size=(4, 2)), "side_logits": rng.normal(size=(4, 4, 3))}
    params = jax.tree.map(np.float32, params)
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params), {})
    done = jax.jit(getattr(learner, step))(state, BATCH)
    after, metrics = done if step == "update" else (None, done)

    # (image, location, class, distances to the sides in strides; those beyond the last bin count as 2).
    pairs = [(0, 3, 1, (6, 4, 6, 5)), (1, 2, 0, (2, 6, 12, 4)), (1, 3, 0, (10, 6, 4, 4))]

    def overlap(params, location, distances, xp=jnp):
        """(IoU, CIoU loss) of the predicted box of a location with the true one; its center and sides in pixels."""
        bins = xp.exp(params["side_logits"][location])
        a, b = 8 * (bins * np.arange(3)).sum(-1) / bins.sum(-1), np.array(distances, np.float32)
        shared = (xp.minimum(a[0], b[0]) + xp.minimum(a[2], b[2])) * (xp.minimum(a[1], b[1]) + xp.minimum(a[3], b[3]))
        (aw, ah), (bw, bh) = a[:2] + a[2:], b[:2] + b[2:]
        hull = xp.square(xp.maximum(a[:2], b[:2]) + xp.maximum(a[2:], b[2:])).sum()
        iou = shared / (aw * ah + bw * bh - shared)
        v = 4 / np.pi**2 * (xp.arctan(bw / bh) - xp.arctan(aw / ah)) ** 2
        k = v / (1 - iou + v)
        k = k if xp is np else jax.lax.stop_gradient(k)
        centers = xp.square((a[2:] - a[:2] - b[2:] + b[:2]) / 2).sum()
        return iou, 1 - iou + centers / hull + k * v

    iou = np.array([overlap(params, location, distances, np)[0] for _, location, _, distances in pairs])
    scores = np.array([1 / (1 + np.exp(-params["logits"][location, label])) for _, location, label, _ in pairs])
    if assignment == "task_aligned":
        t = scores * iou**2
        quality = np.array([iou[0], *(t[1:] / t[1:].max() * iou[1:].max())])
    else:  # the IoUs of the second box add up to less than 2, so that it takes the cheaper of its locations
        x = params["logits"][[2, 3]]
        cost = np.log1p(np.exp(x)).sum(1) - x[:, 0] - 3 * np.log(iou[1:])
        quality = np.array([iou[0], *np.where(cost == cost.min(), iou[1:], 0)])
    total = sum(max(1, quality[[i == image for i, *_ in pairs]].sum()) for image in (0, 1))
    targets = np.zeros((2, 4, 2))
    for (image, location, label, _), q in zip(pairs, quality, strict=True):
        targets[image, location, label] = q

    def parts(params, xp=jnp):
        p = 1 / (1 + xp.exp(-params["logits"]))
        bce = -(targets * xp.log(p) + (1 - targets) * xp.log(1 - p)).sum()
        box, distribution = 0.0, 0.0
        for (_, location, _, distances), q in zip(pairs, quality, strict=True):
            box += q * overlap(params, location, distances, xp)[1]
            bins = xp.exp(params["side_logits"][location])
            log_bins = xp.log(bins / bins.sum(-1, keepdims=True))
            for side, distance in enumerate(distances):
                y = min(distance / 8, 2)
                left = min(int(y), 1)
                pieces = (left + 1 - y) * log_bins[side, left] + (y - left) * log_bins[side, left + 1]
                distribution -= q * pieces / 4
        return 0.6 * bce / total, 5.0 * box / total, 1.2 * distribution / total

    for name, value in zip(("classification", "box", "distribution"), parts(params, np), strict=True):
        assert metrics[name].compute() == pytest.approx(float(value), rel=1e-4), name
    if step == "update":
        gradients = jax.jit(jax.grad(lambda params: sum(parts(params))))(params)
        expected = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        chex.assert_trees_all_close(after.params, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("DE-33")
def test_detections_are_the_means_of_the_distributions():
    """Distances (1, 1/2, 1, 3/2) strides from (8, 8): a box from (0, 4) to (16, 20), clipped to 16."""
    logits = np.full((4, 2), -9.0, np.float32)
    logits[3, 1] = 2
    sides = np.full((4, 4, 3), -30.0, np.float32)
    sides[3, 0, 1] = sides[3, 2, 1] = sides[3, 1, 0] = sides[3, 1, 1] = sides[3, 3, 1] = sides[3, 3, 2] = 0
    outputs = Outputs(jnp.asarray(logits), jnp.asarray(sides))
    thresholds = {"score_thresh": 0.3, "nms_thresh": 0.6, "detections_per_img": 2}
    detections = jax.jit(lambda outputs: yolo_anchor_free.postprocess(outputs, GRID, (16, 16), **thresholds))(outputs)
    assert detections["valid"].tolist() == [True, False]
    assert detections["labels"].tolist() == [1, -1]
    np.testing.assert_allclose(detections["boxes"][0], [0, 4, 16, 16], atol=1e-5)
    assert float(detections["scores"][0]) == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "location"), [({}, 0), ({"iou_cost": 0.0}, 0), ({"iou_cost": 100.0}, 1), ({"center_radius": 0.7}, 1)]
)
def test_the_settings_of_sim_ota_choose_the_location(settings, location):
    """Of a box with its center at (6, 4), location (0, 0) has its class, and location (8, 0) has its sides.

    They are 0.9 and 0.56 strides from the center; the loss of sides has a gradient at the chosen location alone.
    """
    logits = np.full((4, 2), -9, np.float32)
    logits[0] = -9, 9
    sides = np.zeros((4, 4, 3), np.float32)
    sides[1] = np.log(np.maximum(1e-9, [[0, 0.75, 0.25], [0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25]]))
    batch = {"image": BATCH["image"][:1], "boxes": np.float32([[[-2, -2, 14, 10]]]), "labels": np.array([[1]])}
    batch |= {"box_mask": np.ones((1, 1), bool), "index": np.arange(1)}
    chosen = {"assignment": "sim_ota", "assignment_topk": 1, "iou_cost": 1.0, **settings}
    learner = yolo_anchor_free.learner(model=Constant(), optimizer=optax.identity(), **chosen)
    params = {"logits": logits, "side_logits": sides}
    state = ModelState(np.int32(0), jax.random.key(0), params, (), {})
    gradient = jax.jit(jax.grad(lambda params: learner.loss(params, state, batch)[0]))(params)["side_logits"]
    np.testing.assert_array_equal(np.abs(gradient).sum((1, 2)) > 0, np.arange(4) == location)


class Small(nn.Module):
    """Two maps, of strides 8 and 16."""

    @nn.compact
    def features(self, x, train=False):
        x = nn.relu(Conv(4, (3, 3), 8, padding=1, name="first")(x))
        return {"fine": x, "coarse": nn.relu(Conv(6, (3, 3), 2, padding=1, name="second")(x))}


@pytest.mark.covers("DE-33")
def test_the_head_is_decoupled_and_each_level_has_its_own():
    model = AnchorFreeYOLO(Small(), 3, ("fine", "coarse"), channels=4, num_blocks=1, num_convs=1, num_bins=5)
    x = jnp.zeros((2, 32, 48, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    outputs, grid = jax.eval_shape(lambda v: model.apply(v, x), variables)
    chex.assert_shape(outputs, [(2, 24 + 6, 3), (2, 30, 4, 5)])
    assert grid.counts == (24, 6)
    heads = {name for name in variables["params"] if name.startswith(("class_", "box_"))}
    kinds = {f"{kind}{conv}_{level}" for kind in ("class", "box") for conv in ("", "_conv") for level in (0, 1)}
    assert heads == {name + "_0" if "conv" in name else name for name in kinds}
    # The neck has no attention.
    assert not any(name.startswith("aifi") for name in variables["params"]["neck"])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"class_weight=-1.0: out of range; allowed: at least 0"):
        yolo_anchor_free.learner(model=Constant(), optimizer=optax.sgd(0.1), weights=YOLOWeights(class_weight=-1.0))


def test_the_wiring_of_anchor_free_yolo_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        AnchorFreeYOLO(Small(), 2, ("fine", "coarse"), channels=8, num_blocks=1, num_convs=1, num_bins=4),
        (2, 16, 24, 3),
        [94.9464, -41.2794],
    )
