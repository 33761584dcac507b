"""Faster R-CNN against torchvision's, with the mask head, which has the same weights elsewhere; its losses by hand.

The parity with ResNet-50 takes most of the time.
"""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.detection import faster_rcnn, mask_rcnn, rpn
from dlcore.detection.anchors import Anchors, match_anchors
from dlcore.detection.faster_rcnn import BoxOutputs, FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.sampling import Sampled, sample_proposals
from dlcore.detection.torch_weights import from_torch_names
from dlcore.models import create_model
from dlcore.ops.boxes import box_iou, decode_boxes, encode_boxes
from tests.detection.detectors import Golden, Small, parameters
from tests.wiring import assert_wiring

ALL = 10**6


@pytest.mark.slow
@pytest.mark.covers("DE-13")
def test_it_has_torchvisions_number_of_parameters():
    assert parameters(FasterRCNN(create_model("resnet50"), 90)) == 41_755_286


@pytest.fixture(scope="module")
def golden():
    """The two files, of the weights that have the same names, and our outputs for the proposals of both images."""
    faster, mask = Golden("tvdet_fasterrcnn_resnet50_fpn"), Golden("tvdet_maskrcnn_resnet50_fpn")
    model = FasterRCNN(create_model("resnet50"), 90, MaskHead(90))
    targets = faster.targets()
    proposals = jnp.array(faster.meta["inputs"]["proposals"])
    everything = jnp.concatenate([proposals, targets[0]], 1)
    variables = from_torch_names(model, {older(name): value for name, value in mask.weights.items()})
    outputs = jax.jit(model.apply)(variables, faster.images(), everything)
    return faster, mask, outputs, (targets[0], targets[1] - 1, targets[2]), proposals


def both(golden, got, name):
    for file in golden[:2]:
        file.check(got, name)


@pytest.mark.weekly
@pytest.mark.covers("DE-13", "DE-14", "DE-20")
def test_pyramid_and_region_proposals_equal_torchvision(golden):
    outputs, boxes, valid = golden[2], golden[3][0], golden[3][2]
    for level, name in zip(outputs["levels"], ("0", "1", "2", "3", "pool"), strict=True):
        both(golden, level.transpose(0, 3, 1, 2), f"fpn.{name}")
    regions, anchors = outputs["regions"]
    both(golden, anchors.boxes, "anchors")
    assert anchors.counts == (32 * 40 * 3, 16 * 20 * 3, 8 * 10 * 3, 4 * 5 * 3, 2 * 3 * 3)
    start = 0
    for i, count in enumerate(anchors.counts):
        h, w = outputs["levels"][i].shape[1:3]
        logits, deltas = (x[:, start : start + count].reshape(2, h, w, -1) for x in regions)
        both(golden, logits.transpose(0, 3, 1, 2), f"rpn_logits.{i}")
        both(golden, deltas.transpose(0, 3, 1, 2), f"rpn_deltas.{i}")
        start += count
    settings = {"count": ALL, "positive_fraction": 0.5}
    sums = [
        rpn.image_losses(jax.random.key(0), jax.tree.map(lambda x: x[i], regions), anchors, *truth, **settings)
        for i, truth in enumerate(zip(boxes, valid, strict=True))
    ]
    ours = [sum(s[name][0] for s in sums) / sum(s[name][1] for s in sums) for name in ("rpn_objectness", "rpn_box")]
    np.testing.assert_allclose(ours, golden[0].arrays["loss.rpn"], rtol=2e-5)
    matched = np.stack(
        [
            match_anchors(box_iou(b, anchors.boxes), 0.7, 0.3, allow_low_quality_matches=True, valid=v)
            for b, v in zip(boxes, valid, strict=True)
        ]
    )
    both(golden, np.where(matched >= 0, 1, np.where(matched == -1, 0, -1)), "rpn_labels")


def sampled_of(golden):
    """All proposals and true boxes of each image, labeled; in the order of torchvision's."""
    (boxes, labels, valid), proposals = golden[3:]
    found = []
    for i in range(2):
        sampled = sample_proposals(
            jax.random.key(i),
            proposals[i],
            np.ones(6, bool),
            boxes[i],
            labels[i],
            valid[i],
            count=ALL,
            positive_fraction=1,
        )
        candidates = jnp.concatenate([proposals[i], boxes[i]])
        at = np.array([int(np.flatnonzero((candidates == box).all(1))[0]) for box in sampled.boxes])
        order = np.argsort(np.where(sampled.valid, at, 99))
        found.append((jax.tree.map(lambda x, order=order: x[order], sampled), at[order]))
    return found


@pytest.mark.slow
@pytest.mark.covers("DE-12", "DE-13")
def test_box_head_and_losses_equal_torchvision(golden):
    _, _, outputs, (boxes, _, _), proposals = golden
    crops = faster_rcnn.crop_regions(outputs["levels"][:4], proposals, (128, 160), 7)
    both(golden, crops.reshape(12, 7, 7, 256).transpose(0, 3, 1, 2), "box_roi_pool")
    logits, deltas = outputs["boxes"]
    both(golden, logits[:, :6].reshape(12, 91), "box_logits")
    both(golden, deltas[:, :6].reshape(12, 364), "box_deltas")
    decoded = decode_boxes(deltas[:, :6], proposals[:, :, None], faster_rcnn.WEIGHTS)
    both(golden, decoded.reshape(12, 91, 4), "box_decoded")

    totals, rows = {}, {"sampled_labels": [], "sampled_deltas": [], "sampled_proposals": []}
    for i, (sampled, at) in enumerate(sampled_of(golden)):
        losses = faster_rcnn.image_losses(BoxOutputs(logits[i, at], deltas[i, at]), sampled, boxes[i])
        for name, pair in losses.items():
            totals[name] = totals.get(name, 0) + np.array(pair)
        kept = np.asarray(sampled.valid)
        positive = kept & np.asarray(sampled.target > 0)
        encoded = encode_boxes(boxes[i][sampled.matched], sampled.boxes, faster_rcnn.WEIGHTS)
        rows["sampled_labels"].append(sampled.target[kept])
        rows["sampled_proposals"].append(sampled.boxes[kept])
        rows["sampled_deltas"].append(np.where(positive[:, None], encoded, 0)[kept])
    for name, parts in rows.items():
        both(golden, np.concatenate(parts), name)
    ours = [totals[name][0] / totals[name][1] for name in ("classification", "box")]
    np.testing.assert_allclose(ours, golden[0].arrays["loss.box"], rtol=2e-5)


@pytest.mark.weekly
@pytest.mark.covers("SG-06")
def test_mask_head_and_its_loss_equal_torchvision(golden):
    _, file, outputs, (boxes, _, _), _ = golden
    logits = outputs["masks"]
    file.check(logits[:, :6].reshape(12, 28, 28, 91).transpose(0, 3, 1, 2), "mask_logits")
    totals = np.zeros(2)
    for i, (sampled, at) in enumerate(sampled_of(golden)):
        masks = np.zeros((5, 128, 160), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes[i], strict=True):
            mask[int(np.floor(y0)) : int(np.ceil(y1)), int(np.floor(x0)) : int(np.ceil(x1))] = True
        targets = mask_rcnn.mask_targets(jnp.asarray(masks), sampled.matched, sampled.boxes, 28, -1, None, False)
        totals += np.array(mask_rcnn.image_losses(logits[i, at], targets, sampled.target)["mask"])
    assert totals[0] / totals[1] == pytest.approx(file.number("loss.mask"), rel=2e-5)


def older(name):
    """The name that an entry has in torchvision's published files."""
    name = re.sub(r"(inner|layer)_blocks\.(\d)\.0\.", r"\1_blocks.\2.", name).replace(
        "rpn.head.conv.0.0", "rpn.head.conv"
    )
    return re.sub(r"mask_head\.(\d)\.0\.", lambda match: f"mask_head.mask_fcn{int(match[1]) + 1}.", name)


@pytest.mark.slow
def test_names_of_today_are_no_older_ones(golden):
    """The fixture loads weights under the older names."""
    names = list(golden[1].weights)
    assert sum(older(name) != name for name in names) == 16 + 2 + 8
    for pattern, replacement in FasterRCNN.TORCH_OLD_NAMES:
        assert [re.sub(pattern, replacement, name) for name in names] == names


class TwoMaps(nn.Module):
    """A backbone whose maps are the image and its 2 x 2 means."""

    def features(self, x, train=False):
        return {"fine": x, "coarse": x.reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4))}


@pytest.mark.slow
@pytest.mark.covers("DE-25")
def test_a_non_local_block_lets_each_place_of_the_last_stage_see_all_others():
    """At first it is the identity; with random weights a far pixel changes the coarse level alone, and everywhere."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 4)), jnp.float32)
    fields = {"stages": ("fine", "coarse"), "channels": 4, "extra_blocks": "none"}
    plain, model = (FasterRCNN(TwoMaps(), 2, non_local=non_local, **fields) for non_local in (False, True))
    variables = model.init(jax.random.key(0), x, method="pyramid")
    params = dict(variables["params"])
    block = params.pop("non_local_block")
    apply = jax.jit(lambda params, x: model.apply({"params": params}, x, method="pyramid"))
    levels = plain.apply({"params": params}, x, method="pyramid")
    for got, want in zip(apply({**params, "non_local_block": block}, x), levels, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    # Random weights in the block; of the pyramid the coarse level reads the coarse map alone.
    block = jax.tree.map(lambda w: jnp.asarray(np.random.default_rng(1).normal(size=w.shape), jnp.float32), block)
    moved = [
        np.abs(b - a).max((0, 3))
        for a, b in zip(
            *(apply({**params, "non_local_block": block}, v) for v in (x, x.at[:, :2, :2].add(3))), strict=True
        )
    ]
    assert (moved[1] > 1e-6).all()
    unblocked = plain.apply({"params": params}, x.at[:, :2, :2].add(3), method="pyramid")[1] - levels[1]
    assert (np.abs(unblocked).max((0, 3)) == 0).any()


# By hand


@pytest.mark.slow
@pytest.mark.covers("DE-13")
def test_losses_by_hand():
    """Four regions, two classes: one on each class, a background, and an empty slot; all logits 0, deltas of 1 or 2."""
    boxes = jnp.array([[0.0, 0, 10, 10], [20, 20, 40, 30]])
    regions = jnp.array([[0.0, 0, 10, 10], [20, 20, 40, 30], [50, 50, 60, 60], [0, 0, 0, 0]])
    sampled = Sampled(regions, jnp.array([0, 1, 0, 0]), jnp.array([1, 2, 0, 0]), jnp.array([True, True, True, False]))
    deltas = jnp.full((4, 3, 4), 99.0).at[0, 1].set(1.0).at[1, 2].set(2.0)
    losses = faster_rcnn.image_losses(BoxOutputs(jnp.zeros((4, 3)), deltas), sampled, boxes)
    assert float(losses["classification"][0]) == pytest.approx(3 * np.log(3))
    # True deltas are 0; beyond 1/9 the loss is |t| - 1/18 in each of four numbers.
    assert float(losses["box"][0]) == pytest.approx(4 * (1 - 1 / 18) + 4 * (2 - 1 / 18), rel=1e-6)
    assert int(losses["box"][1]) == int(losses["classification"][1]) == 3


@pytest.mark.covers("DE-13")
def test_losses_of_the_proposals_count_sampled_anchors_alone():
    """Of eight places of the sample two are filled: an anchor on the object, at logit 0, and a background at log 3.

    Entropies are log 2 and -log(1 - 3/4); the deltas of the object's anchor are 1 off in each of four numbers."""
    anchors = Anchors(np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]], np.float32), (2,))
    outputs = rpn.Outputs(jnp.array([0.0, np.log(3)]), jnp.array([[1.0] * 4, [9.0] * 4]))
    boxes = jnp.array([[0.0, 0, 10, 10]])
    run = jax.jit(lambda key, outputs, boxes, valid: rpn.image_losses(key, outputs, anchors, boxes, valid, count=8))
    losses = run(jax.random.key(0), outputs, boxes, jnp.array([True]))
    assert set(losses) == {"rpn_objectness", "rpn_box"}
    assert float(losses["rpn_objectness"][0]) == pytest.approx(np.log(2) + np.log(4))
    assert float(losses["rpn_box"][0]) == pytest.approx(4 * (1 - 1 / 18))
    assert [int(number) for _, number in losses.values()] == [2, 2]


SVM_LOGITS = jnp.array([[9.0, 2, -0.5], [9, 0.4, 0.4], [9, -3, 0.2], [9, 9, 9]])


def svm_regions():
    """Regions of class 1, class 2 and the background, and one slot without a region."""
    regions = jnp.array([[0.0, 0, 10, 10], [20, 20, 40, 30], [50, 50, 60, 60], [0, 0, 0, 0]])
    return Sampled(regions, jnp.array([0, 1, 0, 0]), jnp.array([1, 2, 0, 0]), jnp.array([True, True, True, False]))


@pytest.mark.covers("DE-06")
def test_svms_of_the_classes_by_hand():
    """Hinge losses of two classes: scores (2, -0.5) on class 1 cost 0 + 0.5, (0.4, 0.4) on class 2 cost 1.4 + 0.6, and
    (-3, 0.2) on the background 0 + 1.2. The background's own score, 9, counts nowhere; its deltas cost as before."""
    boxes = jnp.array([[0.0, 0, 10, 10], [20, 20, 40, 30]])
    outputs = BoxOutputs(SVM_LOGITS, jnp.zeros((4, 3, 4)))
    losses = jax.jit(faster_rcnn.image_losses, static_argnums=3)(outputs, svm_regions(), boxes, "svm")
    assert float(losses["classification"][0]) == pytest.approx(0.5 + 2.0 + 1.2)
    assert float(losses["box"][0]) == pytest.approx(0)


@pytest.mark.slow
@pytest.mark.covers("DE-06")
def test_margins_of_the_svms_become_scores():
    outputs, sampled = BoxOutputs(SVM_LOGITS, jnp.zeros((4, 3, 4))), svm_regions()
    settings = {"score_thresh": 0.5, "nms_thresh": 0.5, "detections_per_img": 3, "classifier": "svm"}
    found = faster_rcnn.postprocess(outputs, sampled.boxes, sampled.valid, (64, 64), **settings)
    # Margins above 0 are scores above one half: 2 on the first region, 0.4 twice on the second, 0.2 on the third.
    np.testing.assert_allclose(found["scores"], 1 / (1 + np.exp([-2, -0.4, -0.4])), rtol=1e-5)
    np.testing.assert_array_equal(found["labels"][0], 0)


@pytest.mark.weekly
@pytest.mark.covers("DE-13")
def test_a_region_is_cropped_from_the_level_of_its_size():
    levels = [jnp.full((1, 32 // 2**i, 32 // 2**i, 1), 10.0 * i) for i in range(3)]  # strides 4, 8, 16
    # Level of stride 16 for side 224, of 8 for 112 and below 112 of 4: in canonical sizes of 64, sides 64, 32 and 16.
    boxes = jnp.array([[[0.0, 0, 64, 64], [0, 0, 33, 33], [0, 0, 31, 31], [0, 0, 128, 128]]])
    crops = faster_rcnn.crop_regions(levels, boxes, (128, 128), 2, canonical_size=64.0)
    np.testing.assert_allclose(crops[0, :, 0, 0, 0], [20, 10, 0, 20], atol=1e-5)


def test_regions_are_pooled_from_the_level_of_their_size():
    """Two levels of strides 4 and 8 with one bright cell each; RoIPool takes the largest value of a bin."""
    levels = [np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 4, 4, 1), np.float32)]
    levels[0][0, 1, 2], levels[1][0, 3, 3] = 5, 7
    boxes = np.array([[[0.0, 0, 14, 14], [0, 0, 32, 32]]], np.float32)  # levels of strides 4 and 8
    crop = partial(faster_rcnn.crop_regions, size=(32, 32), output_size=2, canonical_size=64.0)
    pooled = np.asarray(jax.jit(partial(crop, pool="roi_pool"))(levels, boxes))[0, ..., 0]
    # Corners 14 / 4 = 3.5 round to 4: rows and columns 0 to 4, in bins of 0 to 2 and 2 to 4.
    np.testing.assert_array_equal(pooled[0], [[5, 5], [0, 0]])
    # 0 to 4, of which the map has 0 to 3.
    np.testing.assert_array_equal(pooled[1], [[0, 0], [0, 7]])
    aligned = np.asarray(jax.jit(crop)(levels, boxes))[0, ..., 0]
    assert 0 < aligned[1].max() < 7  # a mean of samples, not the largest value


@pytest.mark.weekly
@pytest.mark.covers("DE-13")
def test_perfect_outputs_give_the_boxes_back_and_padding_gives_none():
    proposals = jnp.array([[8.0, 8, 28, 30], [30, 30, 60, 60], [0, 0, 64, 64], [0, 0, 0, 0]])
    boxes = jnp.array([[10.0, 10, 26, 28], [20, 30, 60, 62]])
    deltas = jnp.full((4, 4, 4), 5.0)
    deltas = deltas.at[0, 3].set(encode_boxes(boxes[0], proposals[0], faster_rcnn.WEIGHTS))
    deltas = deltas.at[1, 1].set(encode_boxes(boxes[1], proposals[1], faster_rcnn.WEIGHTS))
    logits = jnp.full((4, 4), -20.0).at[jnp.arange(4), jnp.array([3, 1, 0, 2])].set(20.0)
    settings = {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 3}
    found = faster_rcnn.postprocess(
        BoxOutputs(logits, deltas), proposals, jnp.array([True, True, True, False]), (64, 64), **settings
    )
    np.testing.assert_array_equal(found["valid"], [True, True, False])
    order = np.argsort(-np.asarray(found["labels"][:2]))
    np.testing.assert_array_equal(found["labels"][order], [2, 0])
    np.testing.assert_allclose(found["boxes"][order], boxes, atol=1e-3)


@pytest.mark.weekly
@pytest.mark.covers("DE-14")
def test_nine_anchors_a_location():
    anchors = Anchors.of([(6, 8)], (96, 128), scales=(8.0, 16.0, 32.0))
    assert anchors.counts == (6 * 8 * 9,)
    network = rpn.RegionProposalNetwork((8.0, 16.0, 32.0))
    (outputs, laid), _ = network.init_with_output(jax.random.key(0), [jnp.zeros((2, 6, 8, 4))], (96, 128))
    chex.assert_shape(outputs.objectness, (2, 432))
    chex.assert_shape(outputs.deltas, (2, 432, 4))
    np.testing.assert_array_equal(laid.boxes, anchors.boxes)


def test_the_regions_boxes_are_trained_by_smooth_l1_or_giou():
    """One anchor (0, 0, 10, 10) on the object (0, 0, 10, 20), with deltas of 0: its box is the anchor.

    The IoU is 100 / 200, the hull is the object: 1 - GIoU = 1/2. By smooth L1 the deltas are (0, 1/2, 0, log 2): beyond
    1/9 each error e counts e - 1/18, so 1/2 + log 2 - 1/9.
    """
    anchors = Anchors(np.array([[0.0, 0, 10, 10]], np.float32), (1,))
    outputs = rpn.Outputs(jnp.zeros(1), jnp.zeros((1, 4)))
    boxes, valid = jnp.array([[0.0, 0, 10, 20]]), jnp.array([True])
    wanted = {"giou": 1 / 2, "smooth_l1": 1 / 2 + np.log(2) - 1 / 9}
    settings = {"anchors": anchors, "count": 2}
    for box_loss, value in wanted.items():
        run = jax.jit(partial(rpn.image_losses, box_loss=box_loss, **settings))
        losses = run(jax.random.key(0), outputs, boxes=boxes, valid=valid)
        assert float(losses["rpn_box"][0]) == pytest.approx(value, rel=1e-5)
        assert int(losses["rpn_box"][1]) == 1


@pytest.mark.slow
def test_the_wiring_of_faster_rcnn_is_as_it_was():
    """A regression: the number holds the code as it was. test_cascade_rcnn.py has the wiring of the default tier."""
    assert_wiring(
        FasterRCNN(Small(), 2, stages=("fine", "coarse"), channels=4, box_channels=6),
        (1, 32, 32, 3),
        np.array([[[0.0, 0, 9, 9], [4, 4, 30, 20]]]),
        [862.053, 35.6935],
    )
