"""ViTDet: which maps each level reads, the feature pyramid network beside it, and one step of the whole detector."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import two_stage
from dlcore.detection.fpn import FeaturePyramid
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.simple_pyramid import BlockFeaturePyramid, SimpleFeaturePyramid
from dlcore.detection.vitdet import ViTDetector
from dlcore.models.vitdet import ViTDet

FIELDS = {
    "stages": ("block1", "block2"),
    "factors": (1.0, 0.5),
    "channels": 4,
    "box_channels": 4,
    "extra_blocks": "none",
    "scales": (2.0,),
    "aspect_ratios": (1.0,),
}
VIT = {
    "num_classes": 0, "image_size": 32, "pretrain_size": 32, "patch_size": 8, "depth": 2, "width": 8, "num_heads": 2,
    "mlp_features": 8, "window_size": 2, "global_blocks": (1,), "drop_path": 0.0,
}  # fmt: skip


def detector(**fields):
    return ViTDetector(**{"backbone": ViTDet(**VIT), "num_classes": 2, **FIELDS, **fields})


def maps(count=2):
    return [jnp.asarray(x, jnp.float32) for x in np.random.default_rng(0).normal(size=(count, 1, 4, 4, 8))]


@pytest.mark.slow
@pytest.mark.covers("DE-30")
def test_the_two_pyramids_have_the_same_backbone_and_heads():
    model = detector()
    params = {"simple": jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))["params"]}
    fpn = detector(pyramid_kind="fpn")
    params["fpn"] = jax.eval_shape(lambda: fpn.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))["params"]
    layers = {f"{layer}{norm}{i}" for i in range(2) for layer in ("inner", "layer") for norm in ("", "_norm")}
    assert set(params["simple"]["fpn"]) == layers
    assert set(params["fpn"]["fpn"]) == {"fpn"}
    for name in ("backbone", "rpn", "box_head"):
        chex.assert_trees_all_equal_shapes_and_dtypes(params["simple"][name], params["fpn"][name])


class Halves(nn.Module):
    """A backbone whose two maps are halves of its input's channels."""

    def features(self, x, train=False):
        return {"block1": x[..., :8], "block2": x[..., 8:]}


@pytest.mark.slow
@pytest.mark.covers("DE-30")
@pytest.mark.parametrize(("kind", "moves"), [("simple", [False, False]), ("fpn", [True, False])])
def test_the_feature_pyramid_network_alone_reads_an_early_block(kind, moves):
    """A change of the first block's map, behind which the last stays as it is, moves the finest level of an FPN."""
    model, (early, last, other) = detector(backbone=Halves(), pyramid_kind=kind), maps(3)
    images = [jnp.concatenate([x, last], -1) for x in (early, other)]
    variables = jax.jit(lambda: model.init(jax.random.key(0), images[0], method="pyramid"))()
    before, after = (jax.jit(lambda x: model.apply(variables, x, method="pyramid"))(x) for x in images)
    chex.assert_shape(before, [(1, 4, 4, 4), (1, 2, 2, 4)])
    assert [bool((a != b).any()) for a, b in zip(before, after, strict=True)] == moves


@pytest.mark.covers("DE-30")
def test_blocks_are_scaled_before_they_are_merged():
    """By a factor of 1 a map stays, by 0.5 the maximum of 2 x 2 remains; an FPN of these is the expected one."""
    pyramid, (early, last) = BlockFeaturePyramid(4, (1.0, 0.5)), maps()
    halved = np.asarray(last).reshape(1, 2, 2, 2, 2, 8).max((2, 4))
    variables = jax.jit(pyramid.init)(jax.random.key(0), [early, last])
    expected = FeaturePyramid(4).apply({"params": variables["params"]["fpn"]}, [early, jnp.asarray(halved)])
    chex.assert_trees_all_close(pyramid.apply(variables, [early, last]), expected, rtol=1e-5)


def test_a_level_by_pooling_follows_the_simple_pyramid():
    pyramid, (x, _) = SimpleFeaturePyramid(4, (1.0,), "pool"), maps()
    fine, coarse = jax.jit(lambda: pyramid.init_with_output(jax.random.key(0), x)[0])()
    np.testing.assert_array_equal(coarse, fine[:, ::2, ::2])


def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(2, 32, 32, 3)).astype(np.float32),
        "boxes": np.array([[[2, 3, 18, 20], [0, 0, 0, 0]], [[8, 8, 30, 28], [0, 0, 9, 12]]], np.float32),
        "labels": np.array([[1, -1], [0, 1]]),
        "box_mask": np.array([[True, False], [True, True]]),
        "masks": rng.integers(0, 256, (2, 2, 32, 4)).astype(np.uint8),
        "index": np.arange(2),
    }


@pytest.mark.weekly
@pytest.mark.covers("DE-30")
def test_a_step_moves_every_part():
    """One step of SGD: gradients reach the ViT through the pyramid from boxes and masks, and detections have both."""
    model = detector(mask_head=MaskHead(2, 4, 1))
    learner = two_stage.learner(
        model=model, optimizer=optax.sgd(0.1), num_proposals=6, topk_candidates=10, rpn_batch_size_per_image=8,
        box_batch_size_per_image=4, detections_per_img=5,
    )  # fmt: skip
    rows = batch()
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    after, metrics = jax.jit(learner.update)(state, rows)
    assert {"box", "classification", "mask", "rpn_box", "rpn_objectness"} <= set(metrics)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    for name in ("backbone", "fpn", "rpn", "box_head", "mask_head"):
        assert any(jax.tree.leaves(moved[name])), name
    assert moved["backbone"]["patch_embed"]["kernel"]
    detections = jax.jit(learner.predict)(after, rows)
    chex.assert_shape([detections["boxes"], detections["masks"]], [(2, 5, 4), (2, 5, 28, 28)])


def test_levels_and_maps_must_fit():
    def trace(**fields):
        jax.eval_shape(detector(**fields).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))

    with pytest.raises(ValueError, match=r"factors=\(1.0,\): 1 levels; allowed: 2, one a map of stages=\('block1', "):
        trace(factors=(1.0,))
