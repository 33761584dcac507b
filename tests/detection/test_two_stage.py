"""The learner of two-stage detectors, with all heads: no box, padding, devices, repeats; sampling by hand.

Compiling the step of four losses takes most of the time.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.masks import pack_masks
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.detection import rpn, two_stage
from dlcore.detection.anchors import Anchors
from dlcore.detection.fast_rcnn import FastRCNN, window_proposals
from dlcore.detection.faster_rcnn import BoxOutputs, FasterRCNN
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.sampling import balanced_sample, sample_proposals
from dlcore.learner import ModelState
from dlcore.run import Placement, fit, make_mesh
from tests.detection.detectors import Small, encoded, jitted, source
from tests.passes import PASSED, count_pass, passes

# Sampling


@pytest.mark.slow
@pytest.mark.covers("DE-13")
def test_positives_take_their_share_at_most_and_negatives_the_rest():
    positive = jnp.arange(40) < 10
    negative = jnp.arange(40) >= 20
    draw = jax.jit(balanced_sample, static_argnums=(3, 4))
    index, valid = draw(jax.random.key(0), positive, negative, 16, 0.25)
    chex.assert_shape(index, (16,))
    assert bool(valid.all())
    assert bool(positive[index[:4]].all())
    assert bool(negative[index[4:]].all())
    assert len(set(index.tolist())) == 16
    # Ten positives for 16 slots at a share of 1: six negatives; a mask where nobody is left.
    index, valid = draw(jax.random.key(0), positive, negative, 16, 1.0)
    assert int(positive[index].sum()) == 10
    index, valid = draw(jax.random.key(0), positive, negative, 40, 0.25)
    assert int(valid.sum()) == 30
    assert not set(index[valid].tolist()) & set(range(10, 20))
    index, valid = draw(jax.random.key(0), positive & False, negative & False, 16, 0.5)
    assert not valid.any()


def test_each_candidate_is_as_likely_as_another():
    positive, negative = jnp.arange(12) < 4, jnp.arange(12) >= 4
    keys = jax.random.split(jax.random.key(1), 2000)
    index, _ = jax.vmap(lambda key: balanced_sample(key, positive, negative, 6, 1 / 3))(keys)
    share = np.bincount(np.asarray(index).ravel(), minlength=12) / 2000
    np.testing.assert_allclose(share, [0.5] * 4 + [0.5] * 8, atol=0.05)  # 2 of 4 positives, 4 of 8 negatives


@pytest.mark.slow
@pytest.mark.covers("DE-13")
def test_proposals_are_labeled_by_the_boxes_which_are_proposals_too():
    boxes, labels = jnp.array([[0.0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 0, 0]]), jnp.array([3, 1, -1])
    # IoU with the boxes .6, .4 (background), 0, and padding that lies on a box.
    proposals = jnp.array([[0.0, 0, 10, 6], [0, 0, 10, 4], [50, 50, 60, 60], [20, 20, 40, 40]])
    masks = jnp.array([True, True, True, False]), jnp.array([True, True, False])
    sampled = sample_proposals(
        jax.random.key(0), proposals, masks[0], boxes, labels, masks[1], count=8, positive_fraction=0.5
    )
    assert int(sampled.valid.sum()) == 5
    rows = {tuple(box): int(target) for box, target in zip(sampled.boxes[:5].tolist(), sampled.target, strict=False)}
    assert rows == {(0, 0, 10, 6): 4, (0, 0, 10, 10): 4, (20, 20, 40, 40): 2, (0, 0, 10, 4): 0, (50, 50, 60, 60): 0}
    assert (sampled.target[:4] > 0).tolist() == [True, True, True, False]
    assert sampled.matched[:4][sampled.target[:4] == 2].tolist() == [1]


# The learner


def rows_of(count):
    """Sources of `source` with masks, which fill the boxes, and two keypoints at their corners."""
    arrays = dict(source(count)[:])
    arrays.pop("index")
    masks = np.zeros((count, 3, 32, 32), bool)
    for i, j in np.argwhere(arrays["box_mask"]):
        x0, y0, x1, y1 = arrays["boxes"][i, j].round().astype(int)
        masks[i, j, y0:y1, x0:x1] = True
    corners = arrays["boxes"].reshape(count, 3, 2, 2)
    seen = np.broadcast_to(2.0 * arrays["box_mask"][..., None, None], (count, 3, 2, 1))
    arrays["masks"], arrays["keypoints"] = pack_masks(masks), np.concatenate([corners, seen], -1).astype(np.float32)
    return Source(arrays)


FIELDS = {"stages": ("fine", "coarse"), "channels": 4, "extra_blocks": "none", "box_channels": 8}
SETTINGS = {
    "rpn_batch_size_per_image": 16,
    "topk_candidates": 20,
    "num_proposals": 8,
    "box_batch_size_per_image": 8,
    "detections_per_img": 5,
}


def build(heads=True, **settings):
    heads = {"mask_head": MaskHead(3, 4, 1), "keypoint_head": KeypointHead(2, 4, 1)} if heads else {}
    model = FasterRCNN(Small(), 3, **heads, **FIELDS, scales=(1.5,), aspect_ratios=(1.0,))
    optimizer = optax.sgd(0.02)
    return two_stage.learner(model=model, optimizer=optimizer, **SETTINGS, **settings)


@pytest.fixture(scope="module")
def learner():
    return jitted(build())


@pytest.fixture(scope="module")
def state(learner):
    return learner.init(jax.random.key(0), rows_of(6)[:])


LOSSES = {"loss", "rpn_objectness", "rpn_box", "classification", "box", "mask", "keypoint"}


@pytest.mark.weekly
@pytest.mark.covers("DE-13", "SG-06", "SG-08")
def test_an_image_without_a_box_trains_as_background_and_nothing_compiles_twice(learner, state):
    rows = rows_of(6)[:]
    after, metrics = learner.update(state, rows)
    assert set(metrics) == LOSSES
    parts = {name: metric.compute() for name, metric in metrics.items()}
    assert all(np.isfinite(value) for value in parts.values())
    assert parts.pop("loss") == pytest.approx(sum(parts.values()), rel=1e-5)
    empty = {**rows, "box_mask": np.zeros_like(rows["box_mask"])}
    after, metrics = learner.update(after, empty)
    chex.assert_tree_all_finite(after.params)
    assert metrics["classification"].compute() > 0
    assert metrics["box"].compute() == metrics["rpn_box"].compute() == 0
    assert metrics["mask"].compute() is None
    assert metrics["keypoint"].compute() is None
    assert learner.update._cache_size() == 1
    found = learner.predict(after, empty)
    assert {name: value.shape[1:] for name, value in found.items()} == {
        "boxes": (5, 4),
        "scores": (5,),
        "labels": (5,),
        "valid": (5,),
        "masks": (5, 28, 28),
        "keypoints": (5, 2, 3),
        "keypoint_scores": (5, 2),
    }
    chex.assert_tree_all_finite(found)


@pytest.mark.weekly
@pytest.mark.covers("DE-13", "SG-06", "SG-08")
def test_evaluation_repeats_and_padding_changes_nothing(learner, state):
    rows = rows_of(6)[:]
    plain = learner.evaluate(state, rows)
    later = state.replace(step=state.step + 7)
    chex.assert_trees_all_equal(learner.evaluate(later, rows), plain)
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = learner.evaluate(state, {name: values[order] for name, values in rows.items()})
    chex.assert_trees_all_close(shuffled, plain, rtol=1e-5)
    assert learner.update(state, rows)[1]["rpn_objectness"].compute() != plain["rpn_objectness"].compute()
    wild = {name: np.concatenate([values, values[:2]]) for name, values in rows.items()}
    wild["image"][6:], wild["mask"] = np.nan, np.r_[np.ones(6), np.zeros(2)]
    wild["boxes"] = np.where(wild["box_mask"][..., None], wild["boxes"], 1e6).astype(np.float32)
    wild["labels"] = np.where(wild["box_mask"], wild["labels"], 99)
    padded = learner.evaluate(state, wild)
    for name, metric in plain.items():
        assert padded[name].compute() == pytest.approx(metric.compute(), rel=1e-5)


def trained(placement):
    """The parameters after two steps; the heads would take their sums the same way, and longer to compile."""
    learner, pipeline = build(heads=False), Pipeline(source(32), 16)
    return jax.device_get(fit(learner, pipeline, steps=2, placement=placement, progress=False).state.params)


@pytest.fixture(scope="module")
def on_one_device():
    return trained(Placement(make_mesh("data:1", jax.devices()[:1])))


@pytest.mark.weekly
@pytest.mark.covers("DE-13")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd, on_one_device):
    eight = trained(Placement(make_mesh("data:8"), spmd=spmd))
    chex.assert_trees_all_close(on_one_device, eight, rtol=1e-4, atol=1e-6)


@pytest.mark.weekly
@pytest.mark.covers("DE-13")
def test_no_gradient_goes_through_the_proposals(learner, state):
    """The deltas of the region proposal network learn by their own loss alone: without positives, not at all."""
    rows = rows_of(6)[:]
    rows["box_mask"][:] = False
    gradient = jax.jit(jax.grad(learner.loss, has_aux=True))(state.params, state, rows)[0]
    assert not jax.tree.reduce(lambda a, b: a | bool(np.any(b)), gradient["rpn"]["bbox_pred"], False)
    assert np.any(gradient["rpn"]["cls_logits"]["kernel"])
    assert np.any(gradient["backbone"]["first"]["kernel"])


# Fast R-CNN


@pytest.mark.covers("DE-10")
def test_fast_rcnn_crops_all_proposals_from_one_pass_of_the_backbone():
    """In the traced program: one convolution of the backbone for 2 images, one box head for 2 x 20 proposals."""
    windows = window_proposals((32, 32), scales=(1.0,))
    assert len(windows) == 16 + 4
    # Windows of 16 pixels around (0, 0) and (8, 0), cut off at an image of 8 rows and 16 columns.
    wide = window_proposals((8, 16), strides=(8,), scales=(2.0,))
    np.testing.assert_array_equal(wide, [[0, 0, 8, 8], [0, 0, 16, 8]])
    boxes, x = np.stack([windows, windows]), np.zeros((2, 32, 32, 3), np.float32)
    model = FastRCNN(Small(), 3, **FIELDS)
    variables = jax.eval_shape(model.init, jax.random.key(0), x, boxes)
    assert "rpn" not in variables["params"]
    chex.assert_shape(
        variables["params"]["box_head"]["fc6"]["kernel"], (4 * 7 * 7, 8), custom_message="a crop of 7 x 7 of 4 channels"
    )
    program, shapes = jax.make_jaxpr(model.apply, return_shape=True)(variables, x, boxes)
    assert str(program).count("window_strides=(8, 8)") == 1
    assert shapes["boxes"].logits.shape[:2] == (2, 20)


@pytest.mark.weekly
@pytest.mark.covers("DE-10")
def test_fast_rcnn_runs_its_backbone_once_on_given_proposals():
    windows = window_proposals((32, 32), scales=(1.0, 2.0))
    chex.assert_shape(windows, ((16 + 4) * 2, 4))
    rows = dict(source(6)[:])
    rows["proposals"] = np.broadcast_to(windows, (6, *windows.shape)).copy()
    rows["proposal_mask"] = np.ones((6, len(windows)), bool)
    model = FastRCNN(Small(), 3, **FIELDS)
    seen = []

    def watch(key, example):
        seen.append(example["boxes"].shape)
        return example

    learner = jitted(two_stage.learner(model=model, optimizer=optax.sgd(0.02), augment=watch, **SETTINGS))
    state = learner.init(jax.random.key(0), rows)
    assert "rpn" not in state.params
    after, metrics = learner.update(state, rows)
    assert set(metrics) == {"loss", "classification", "box"}
    assert seen == [(3 + len(windows), 4)]  # proposals move with the boxes
    chex.assert_tree_all_finite(after.params)
    found = learner.predict(state, rows)
    # However many proposals there are, the first convolution of the backbone runs once.
    for count in (5, len(windows)):
        fewer = {name: v[:, :count] if name.startswith("proposal") else v for name, v in rows.items()}
        text = str(jax.make_jaxpr(learner.predict)(state, fewer))
        assert text.count("window_strides=(8, 8)") == 1
    chex.assert_shape(found["boxes"], (6, 5, 4))
    nobody = {**rows, "proposal_mask": np.zeros((6, len(windows)), bool)}
    assert not learner.predict(state, nobody)["valid"].any()


@pytest.mark.slow
def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"rpn_bg_iou_thresh=0.9: .*at most rpn_fg_iou_thresh"):
        build(rpn_bg_iou_thresh=0.9)


FOUR = Anchors(np.array([[0, 0, 8, 8], [8, 8, 16, 16], [0, 8, 8, 16], [8, 4, 16, 12]], np.float32), (4,))


class Given(nn.Module):
    """All heads by a few numbers, times the one number of an image; the box head's scores depend on its boxes."""

    num_classes: int = 2
    mask_head: bool | None = None
    keypoint_head: bool | None = None
    given_proposals: bool = True
    num_stages: int = 1

    def setup(self):
        shapes = {"objectness": (4,), "rpn": (4, 4), "scores": (4, 3), "deltas": (3, 4), "mask": (3,), "heat": ()}
        self.parts = {name: self.param(name, nn.initializers.zeros, shape) for name, shape in shapes.items()}

    def pyramid(self, x, train=False):
        count_pass(self, train)
        return [x[:, 0, 0, :1]]  # [B, 1]

    def regions(self, levels, size):
        return rpn.Outputs(levels[0] * self.parts["objectness"], levels[0][..., None] * self.parts["rpn"]), FOUR

    def classify(self, levels, boxes, size, stage=0):
        scale = levels[0][..., None]
        deltas = scale[..., None] * jnp.broadcast_to(self.parts["deltas"], (*boxes.shape[:2], 3, 4))
        return BoxOutputs(scale * (boxes / 16) @ self.parts["scores"], deltas)

    def segment(self, levels, boxes, size):
        scale = levels[0][..., None, None, None]
        return scale * jnp.broadcast_to(self.parts["mask"], (*boxes.shape[:2], 28, 28, 3))

    def locate(self, levels, boxes, size):
        scale, columns = levels[0][..., None, None, None], jnp.arange(56).reshape(56, 1) / 56
        return scale * self.parts["heat"] * jnp.broadcast_to(columns, (*boxes.shape[:2], 56, 56, 1))


@pytest.mark.slow
def test_the_sample_of_anchors_has_settings_of_its_own():
    """Anchors 0 and 1 are true boxes, 2 is background, and 3 has an IoU of 1 / 3 with anchor 1.

    Logits are 2, 2, -1 and -3: log(1 + exp(-2)) of an anchor on an object, log(1 + exp(-1)) and log(1 + exp(-3)) else.
    """
    batch = {
        "image": np.ones((1, 16, 16, 1), np.float32), "boxes": FOUR.boxes[None, :2], "labels": np.array([[1, 0]]),
        "box_mask": np.ones((1, 2), bool), "index": np.arange(1),
    }  # fmt: skip
    params = {
        "objectness": [2, 2, -1, -3],
        "rpn": np.zeros((4, 4)),
        "scores": np.zeros((4, 3)),
        "deltas": np.zeros((3, 4)),
    }
    params = {name: np.float32(value) for name, value in (params | {"mask": np.zeros(3), "heat": 0.0}).items()}
    state = ModelState(np.int32(0), jax.random.key(0), params, (), PASSED)
    yes, no, far = np.log1p(np.exp([-2.0, -1, -3]))
    for count, share, least, most, wanted in (
        (2, 0.5, 0.3, 0.7, yes + no),
        (4, 0.5, 0.3, 0.7, 2 * yes + no),
        (4, 0.5, 0.35, 0.7, 2 * yes + no + far),
        (4, 0.75, 0.3, 0.32, 2 * yes + no + np.log1p(np.exp(3.0))),
    ):
        learner = two_stage.learner(
            model=Given(given_proposals=False), optimizer=optax.identity(), rpn_batch_size_per_image=count,
            rpn_positive_fraction=share, rpn_bg_iou_thresh=least, rpn_fg_iou_thresh=most, topk_candidates=4,
            num_proposals=4, box_batch_size_per_image=8,
        )  # fmt: skip
        found = jax.jit(learner.evaluate)(state, batch)["rpn_objectness"].total
        assert float(found) == pytest.approx(wanted, rel=1e-4), (count, share, least, most)


@pytest.mark.slow
def test_each_head_of_a_cascade_has_an_overlap_of_its_own():
    """A box of height 9 on a proposal of height 8, IoU 8 / 9: errors 0.5 / 8 and log(9 / 8), times the head's weights.

    The smooth distance of an error x over 1/9 is x - 1/18. From 0.95 on the true box alone is on an object, without an
    error; boxes do not move.
    """
    batch = {
        "image": np.ones((1, 16, 16, 1), np.float32), "boxes": np.float32([[[0, 0, 8, 9]]]), "labels": np.array([[1]]),
        "box_mask": np.ones((1, 1), bool), "proposals": FOUR.boxes[None], "proposal_mask": np.ones((1, 4), bool),
        "index": np.arange(1),
    }  # fmt: skip
    params = {
        "objectness": np.zeros(4),
        "rpn": np.zeros((4, 4)),
        "scores": np.zeros((4, 3)),
        "deltas": np.zeros((3, 4)),
    }
    params = {name: np.float32(value) for name, value in (params | {"mask": np.zeros(3), "heat": 0.0}).items()}
    for least, second in ((0.8, 20 * 0.5 / 8 + 10 * np.log(9 / 8) - 1 / 9), (0.95, 0)):
        learner = two_stage.learner(
            model=Given(num_stages=2), optimizer=optax.identity(), box_batch_size_per_image=8,
            box_positive_fraction=1.0, cascade_iou_thresh=(least,),
        )  # fmt: skip
        metrics = jax.jit(learner.evaluate)(ModelState(np.int32(0), jax.random.key(0), params, (), PASSED), batch)
        assert float(metrics["box"].total) == pytest.approx(10 * 0.5 / 8 + 5 * np.log(9 / 8) - 1 / 9, rel=1e-4)
        assert float(metrics["box_2"].total) == pytest.approx(second, rel=1e-4)


@pytest.mark.slow(unless=["box_head"])
@pytest.mark.covers("DE-13")
@pytest.mark.parametrize("whole", [False, True], ids=["box_head", "all_heads"])
def test_one_update_by_hand(whole):
    """All anchors and proposals are in the sample, so that six means and their gradients are sums in NumPy.

    Image 0: anchor 0 has an IoU of 64 / 72 with the box, the others are background. Image 1: anchor 1 has 49 / 64 and
    anchor 3 28 / 85, between the thresholds; image 2 does not count. No gradient passes through the proposals, on whose
    places the second stage's scores depend. With the box head alone the anchors are the given proposals.
    """
    rate, beta, rng = 0.1, 1 / 9, np.random.default_rng(0)
    learner = two_stage.learner(
        model=Given(2, whole or None, whole or None, not whole), optimizer=optax.sgd(rate), preprocess=lambda x: 2 * x,
        rpn_batch_size_per_image=8, rpn_positive_fraction=1.0, rpn_nms_thresh=1.0,
        topk_candidates=4, num_proposals=4, box_batch_size_per_image=8, box_positive_fraction=1.0,
    )  # fmt: skip
    before = {
        "objectness": rng.normal(size=4), "rpn": 0.1 * rng.normal(size=(4, 4)), "scores": rng.normal(size=(4, 3)),
        "deltas": rng.normal(size=(3, 4)), "mask": rng.normal(size=3), "heat": 1.5,
    }  # fmt: skip
    before = {name: np.float32(value) for name, value in before.items()}
    scale = np.array([1.0, 0.7, 2.0], np.float32)
    true, label, point = [[0, 0, 8, 9], [9, 8, 16, 15], [0, 0, 8, 8]], [1, 0, 0], [[4.3, 4.1], [12.3, 11.2], [4, 4]]
    batch = {
        "image": np.tile(scale.reshape(3, 1, 1, 1) / 2, (1, 16, 16, 1)),
        "boxes": np.stack([np.float32(true), np.zeros((3, 4), np.float32)], 1),
        "labels": np.stack([label, [0, 0, 0]], 1),
        "box_mask": np.array([[True, False]] * 3),
        "masks": pack_masks(np.ones((3, 2, 16, 16), bool)),
        "keypoints": np.float32([[[[*p, 2]], [[0, 0, 0]]] for p in point]),
        "proposals": np.tile(FOUR.boxes, (3, 1, 1)),
        "proposal_mask": np.ones((3, 4), bool),
        "mask": np.array([1, 1, 0], np.float32),
        "index": np.arange(3),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), PASSED)
    after, metrics = jax.jit(learner.update)(state, batch)
    assert passes(after.model_state) == 3 + 1

    def iou(a, b):
        area = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
        return area / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - area)

    def smooth(error):
        value = np.where(np.abs(error) < beta, error**2 / (2 * beta), np.abs(error) - beta / 2)
        return value.sum(), np.clip(error / beta, -1, 1)

    terms = {name: [] for name in ("rpn_objectness", "rpn_box", "classification", "box", "mask", "keypoint")}
    slopes = {name: [] for name in before}
    for i, (s, owner, others) in enumerate(((1.0, 0, (1, 2, 3)), (0.7, 1, (0, 2)))):
        box, c = np.float64(true[i]), 1 + label[i]
        for a in (owner, *others):
            z, yes = s * before["objectness"][a], float(a == owner)
            terms["rpn_objectness"].append(np.log1p(np.exp(z)) - yes * z)
            slopes["objectness"].append(s * (1 / (1 + np.exp(-z)) - yes) * np.eye(4)[a] / 7)
        value, slope = smooth(s * before["rpn"][owner] - encoded(box, FOUR.boxes[owner], (1, 1, 1, 1)))
        terms["rpn_box"].append(value)
        slopes["rpn"].append(s * np.eye(4)[owner][:, None] * slope / 7)
        move, size = s * before["rpn"][:, :2], 8 * np.exp(s * before["rpn"][:, 2:])
        middle = FOUR.boxes[:, :2] + 4 + 8 * move
        proposals = np.clip(np.concatenate([middle - size / 2, middle + size / 2], -1), 0, 16) if whole else FOUR.boxes
        for at in (*proposals, box):
            z, target = s * at / 16 @ before["scores"], c if iou(at, box) >= 0.5 else 0
            p = np.exp(z) / np.exp(z).sum()
            terms["classification"].append(-np.log(p[target]))
            slopes["scores"].append(s * np.outer(at / 16, p - np.eye(3)[target]) / 10)
            if not target:
                continue
            value, slope = smooth(s * before["deltas"][c] - encoded(box, at))
            terms["box"].append(value)
            slopes["deltas"].append(s * np.eye(3)[c][:, None] * slope / 10)
            terms["mask"].append(np.log1p(np.exp(-s * before["mask"][c])))
            slopes["mask"].append(-s * np.eye(3)[c] / (1 + np.exp(s * before["mask"][c])))
            columns, column = np.arange(56) / 56, int((point[i][0] - at[0]) * 56 / (at[2] - at[0])) / 56
            p = np.exp(s * before["heat"] * columns) / (56 * np.exp(s * before["heat"] * columns).sum())
            terms["keypoint"].append(-s * before["heat"] * column - np.log(p[0]))
            slopes["heat"].append(s * (56 * (p * columns).sum() - column))
    positives = len(terms["mask"])
    assert positives == 4, "the box and a proposal of each image"
    slopes["mask"] = [slope / positives for slope in slopes["mask"]]
    slopes["heat"] = [slope / positives for slope in slopes["heat"]]
    numbers = {"rpn_objectness": 7, "rpn_box": 7, "classification": 10, "box": 10, "mask": 4, "keypoint": 4}
    numbers = numbers if whole else {name: numbers[name] for name in ("classification", "box")}
    learned = before if whole else ("scores", "deltas")
    new = {name: before[name] - rate * np.sum(slopes[name], 0) * (name in learned) for name in before}
    chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-5)
    for name, number in numbers.items():
        assert metrics[name].compute() == pytest.approx(np.sum(terms[name]) / number, rel=1e-4), name
    assert metrics["loss"].compute() == pytest.approx(sum(np.sum(terms[n]) / numbers[n] for n in numbers), rel=1e-4)
