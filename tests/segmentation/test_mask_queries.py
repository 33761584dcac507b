"""MaskFormer and Mask2Former against transformers', their learner, and maps of queries by hand."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.masks import pack_masks
from dlcore.learner import ModelState
from dlcore.models import create_model
from dlcore.models.swin import Swin
from dlcore.pretrained.family import find_family
from dlcore.segmentation import mask_queries
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.mask_losses import MaskLossWeights, PointSampling
from dlcore.segmentation.mask_queries import MaskOutputs, instance_detections, panoptic_segments, semantic_scores
from dlcore.segmentation.maskformer import MaskFormer
from tests.detection.detectors import Small
from tests.detection.hub_folders import check_published
from tests.passes import PASSED, count_pass, passes
from tests.wiring import assert_wiring

MASKFORMER, MASK2FORMER, EOMT = (
    find_family({"architectures": [f"{name}Segmentation"]})
    for name in ("MaskFormerForInstance", "Mask2FormerForUniversal", "EomtForUniversal")
)


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["hf_maskformer", "hf_mask2former"])
def test_a_published_folder_equals_transformers(name, tmp_path):
    net = check_published(name, tmp_path, 1e-4)
    assert net.name == {"hf_maskformer": "maskformer_swin_t", "hf_mask2former": "mask2former_swin_t"}[name]


def test_transformers_counts_the_queries_at_first_as_a_layer():
    folder = Path(__file__).parents[1] / "goldens" / "hub" / "facebook--mask2former-tiny"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name, fields = MASK2FORMER.model(config)
    assert (name, config["decoder_layers"], fields["decoder_layers"]) == ("mask2former_swin_t", 3, 2)


def test_semantic_scores_by_hand():
    """Two queries, one pixel, two classes: 3/4 of the first mask is class 0; the second says "no object" by half."""
    classes = np.log(np.array([[0.75, 0.25, 1e-9], [0.1, 0.4, 0.5]]))
    masks = np.array([[[0.0, np.log(4.0)]]])  # chances of 1/2 and 4/5
    expected = [0.5 * 0.75 + 0.8 * 0.1, 0.5 * 0.25 + 0.8 * 0.4]
    np.testing.assert_allclose(jax.jit(semantic_scores)(classes, masks)[0, 0], expected, rtol=1e-5)


def test_errors_name_a_wrong_number_of_stages_and_an_unsupported_field():
    model = Mask2Former(Swin(num_classes=0), 3, stages=("stage1", "stage2"))
    with pytest.raises(ValueError, match=r"stages=\('stage1', 'stage2'\): 2 of them; allowed: 4"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))


def logit(p):
    return np.log(p) - np.log1p(-np.asarray(p))


@pytest.mark.covers("SG-15")
def test_one_head_gives_panoptic_and_instance_maps_by_hand():
    """Six pixels, one class of stuff, two of things; the fourth query is no object, the fifth is unsure, 0.6 < 0.7.

    Pixel 2 goes to query 0, since 0.9 * 0.6 > 0.95 * 0.5; pixel 3 to query 1. Pixel 5 has the largest product of query
    2, whose mask is below 1/2 there: no segment. Queries 1 and 5 are one stuff.
    """
    masks = np.full((1, 6, 6), 0.01)
    masks[0, :3, 0] = 0.9, 0.9, 0.6
    masks[0, 2:4, 1] = 0.5, 0.9
    masks[0, 5, 2], masks[0, 4, 5] = 0.4, 0.8
    masks[0, :, 3:5] = 0.95
    masks[0, 0, 1] = 0.3
    chances = np.full((6, 4), 1e-6)
    for query, label, p in ((0, 1, 0.9), (1, 0, 0.95), (2, 2, 0.95), (3, 3, 0.95), (4, 2, 0.6), (5, 0, 0.8)):
        chances[query] = (1 - p) / 3
        chances[query, label] = p
    outputs = jnp.asarray(np.log(chances), jnp.float32), jnp.asarray(logit(masks), jnp.float32)
    segments, labels = jax.jit(panoptic_segments, static_argnums=2)(*outputs, 1, 0.7, 0.5)
    np.testing.assert_array_equal(segments, [[0, 0, 0, 6, 6, -1]])
    np.testing.assert_array_equal(labels, [1, -1, -1, -1, -1, -1, 0])
    # Query 1 keeps one of its two pixels, less than 0.6: its pixel has no segment.
    segments, labels = jax.jit(panoptic_segments, static_argnums=2)(*outputs, 1, 0.7, 0.6)
    np.testing.assert_array_equal(segments, [[0, 0, 0, -1, 6, -1]])
    # Instances: class 0 of query 0 first, 0.9 * (0.9 + 0.9 + 0.6) / 3; its box are the first three pixels.
    found = jax.jit(instance_detections, static_argnums=(2, 3))(*outputs, 1, 3)
    assert float(found["scores"][0]) == pytest.approx(0.9 * 0.8, rel=1e-5)
    assert (int(found["labels"][0]), bool(found["valid"][0])) == (0, True)
    np.testing.assert_allclose(found["boxes"][0], [0, 0, 3, 1], atol=1e-6)
    assert float(found["scores"][1]) == pytest.approx(0.6 * 0.95, rel=1e-5)  # query 4 is everywhere, of class 1
    np.testing.assert_allclose(found["boxes"][1], [0, 0, 6, 1], atol=1e-6)
    chex.assert_shape(found["masks"], (3, 28, 28))
    np.testing.assert_allclose(found["masks"][1], 0.95, rtol=1e-4)
    assert not found["valid"][2]  # query 2, of class 1, has no pixel above 1/2
    assert (int(found["labels"][2]), float(found["scores"][2])) == (-1, 0)


def test_true_masks_are_visible_things_and_each_class_of_stuff():
    true_masks = jax.jit(mask_queries.true_masks, static_argnums=1)
    whole = np.zeros((3, 1, 6), bool)
    whole[0, 0, :3], whole[1, 0, 2:4], whole[2, 0, 5] = True, True, True
    image = np.zeros((1, 6, 3), np.float32)
    things = {"masks": whole, "labels": np.array([0, 1, 1]), "box_mask": np.array([True, True, False])}
    stuff = {"semantic": np.array([[1, 1, 1, 1, 1, 1]])}
    masks, classes, valid = true_masks({"image": image, **things, **stuff}, 2)
    rows = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0] * 6, [0] * 6, [0, 0, 0, 0, 1, 0]]  # padding's pixel is void
    np.testing.assert_array_equal(masks[:, 0], np.array(rows, bool))
    np.testing.assert_array_equal(classes, [2, 3, -1, 0, 1])
    np.testing.assert_array_equal(valid, [True, True, False, False, True])
    masks, classes, valid = true_masks({"image": image, **stuff}, 2)
    np.testing.assert_array_equal(masks[:, 0], [[False] * 6, [True] * 6])
    np.testing.assert_array_equal(valid, [False, True])
    masks, classes, valid = true_masks({"image": image, **things}, 0)
    np.testing.assert_array_equal(classes, [0, 1, -1])
    np.testing.assert_array_equal(valid, [True, True, False])


class Constant(nn.Module):
    """Two layers of three queries: logits in proportion to the number of an image, and masks without a shape."""

    @nn.compact
    def __call__(self, images, train=False):
        count_pass(self, train)
        logits = self.param("logits", nn.initializers.zeros, (2, 3, 3))
        masks = self.param("masks", nn.initializers.zeros, (2, 3))
        scale = images[:, :1, :1, :1]
        return MaskOutputs(scale * logits, jnp.broadcast_to(masks[:, None, None], (len(images), 2, 2, 2, 3)))


WEIGHTS = MaskLossWeights(1.5, 3.0, 4.0, 0.2)
LEARNER = partial(
    mask_queries.learner, num_stuff=1, weights=WEIGHTS, sampling=PointSampling(4, 2.0, 0.5), detections_per_img=2
)


@pytest.mark.slow
@pytest.mark.covers("SG-15")
def test_one_update_by_hand():
    """One thing covers image 0, stuff covers image 1: true masks without a border do not depend on the points.

    The third image is padding. Per layer, distinct queries have the masks of both images.
    """
    rate = 0.05
    learner = LEARNER(model=Constant(), optimizer=optax.sgd(rate))
    before = {
        "logits": np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32),
        "masks": np.array([[3.0, 0.5, -1.0], [-2.0, 0.2, 2.5]], np.float32),
    }
    scale = np.array([1.0, 0.7, 5.0], np.float32)
    masks = np.stack([np.ones((1, 4, 4), bool), np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)])
    batch = {
        "image": np.broadcast_to(scale[:, None, None, None], (3, 4, 4, 1)),
        "masks": pack_masks(masks),
        "labels": np.array([[0], [-1], [0]]),
        "box_mask": np.array([[True], [False], [True]]),
        "semantic": np.array([1, 0, 1], np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8),
        "index": np.arange(3),
        "mask": np.array([1, 1, 0]),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), PASSED)
    after, metrics = jax.jit(learner.update)(state, batch)
    assert passes(after.model_state) == 3 + 1
    owner, truth = (0, 2), (1, 0)  # query of each layer, class of each image

    def parts(params):
        rows = []
        for layer, query in enumerate(owner):
            has_mask = jnp.arange(3) == query
            weight = jnp.where(has_mask, 1, 0.2)
            nats = 0.0
            for image in range(2):
                z = scale[image] * params["logits"][layer]
                label = np.where(np.arange(3) == query, truth[image], 2)
                nats += (weight * (jnp.log(jnp.exp(z).sum(1)) - z[np.arange(3), label])).sum()
            p = 1 / (1 + jnp.exp(-params["masks"][layer, query]))
            dice = 1 - (2 * 4 * p + 1) / (4 * p + 4 + 1)  # of four points
            rows.append((1.5 * nats / (2 * weight.sum()), -3 * jnp.log(p), 4 * dice))  # both images have the same mask
        return jnp.array(rows)

    expected = parts(before)
    gradients = jax.grad(lambda params: parts(params).sum())(before)
    new = jax.tree.map(lambda p, g: p - rate * g, before, gradients)
    chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-6)
    for name, (early, last) in zip(("classification", "mask", "dice"), expected.T, strict=True):
        assert metrics[name].compute() == pytest.approx(float(last), rel=1e-4), name
        assert metrics[f"auxiliary_{name}"].compute() == pytest.approx(float(early), rel=1e-4), name
    assert metrics["loss"].compute() == pytest.approx(float(expected.sum()), rel=1e-4)


def batch_of(num_things):
    """Two images with masks for `num_things` things, none of which is there."""
    return {
        "image": np.zeros((2, 4, 4, 1), np.float32),
        "masks": np.zeros((2, num_things, 4, 1), np.uint8),
        "labels": np.full((2, num_things), -1),
        "box_mask": np.zeros((2, num_things), bool),
        "semantic": np.full((2, 4, 4), 255, np.uint8),
        "index": np.arange(2),
    }


def test_predictions_are_those_of_the_last_layer(monkeypatch):
    """Of one image the first layer says class 0, the last one class 1."""
    monkeypatch.setattr(mask_queries, "panoptic_segments", lambda classes, masks, _: (masks[..., 0], classes[:, 0]))
    monkeypatch.setattr(mask_queries, "instance_detections", lambda classes, masks, *_: {"scores": classes[:, 0]})
    classes, masks = np.zeros((2, 3, 3), np.float32), np.zeros((2, 2, 2, 3), np.float32)
    classes[0, :, 0] = classes[1, :, 1] = 9
    masks[1] = 1
    found = jax.jit(lambda: mask_queries._predict_image(MaskOutputs(classes, masks), (4, 4), 1, 2))()
    np.testing.assert_array_equal(found["scores"], np.zeros(3))
    np.testing.assert_allclose(found["segments"], np.ones((4, 4)), rtol=1e-6)
    np.testing.assert_array_equal(found["classes"], np.ones((4, 4)))


class Given(nn.Module):
    """One layer of two queries that hold their classes by 0.9 and 0.7, on four pixels of one image."""

    @nn.compact
    def __call__(self, images, train=False):
        chances = np.array([[0.05, 0.9, 0.05], [0.15, 0.7, 0.15]])
        masks = np.full((1, 4, 2), 0.01)
        masks[0, :2, 0], masks[0, 1:, 1] = 0.9, 0.9
        return MaskOutputs(
            jnp.asarray(np.log(chances), jnp.float32)[None, None], jnp.asarray(logit(masks), jnp.float32)[None, None]
        )


@pytest.mark.slow
def test_thresholds_reach_the_predicted_segments():
    """The second query loses one of its three pixels to the first, and keeps 2 / 3 of its mask."""
    state = ModelState(np.int32(0), jax.random.key(0), {}, (), {})
    for settings, wanted in (
        ({"score_thresh": 0.6, "min_visible": 0.6}, [0, 0, 1, 1]),
        ({"score_thresh": 0.6, "min_visible": 0.7}, [0, 0, -1, -1]),
        ({"score_thresh": 0.75, "min_visible": 0.6}, [0, 0, -1, -1]),
        ({}, [0, 0, -1, -1]),
    ):
        learner = mask_queries.learner(model=Given(), optimizer=optax.identity(), num_stuff=1, **settings)
        found = learner.predict(state, {"image": np.zeros((1, 1, 4, 1), np.float32)})
        np.testing.assert_array_equal(found["segments"][0, 0], wanted)


@pytest.mark.slow
def test_training_alone_augments():
    """Images twice as bright: a step on them is that on images that are twice as bright already."""
    batch = {**batch_of(2), "image": np.float32([1, 3]).reshape(2, 1, 1, 1) * np.ones((2, 4, 4, 1), np.float32)}
    bright = {**batch, "image": 2 * batch["image"]}
    plain = LEARNER(model=Constant(), optimizer=optax.sgd(0.1))
    learner = LEARNER(
        model=Constant(),
        optimizer=optax.sgd(0.1),
        augment=lambda key, example: {**example, "image": 2 * example["image"]},
    )
    state = plain.init(jax.random.key(0), batch)
    state = state.replace(params={**state.params, "logits": np.float32(np.arange(18).reshape(2, 3, 3) % 5)})
    after, wanted, other = (
        jax.jit(one.update)(state, rows)[0].params["logits"]
        for one, rows in ((learner, batch), (plain, bright), (plain, batch))
    )
    np.testing.assert_allclose(after, wanted, rtol=1e-6)
    assert np.abs(after - other).max() > 1e-3
    measured, same = (jax.jit(one.evaluate)(state, batch)["loss"].compute() for one in (learner, plain))
    assert measured == same


def test_the_quality_of_a_semantic_map_is_that_of_the_last_layer():
    """Query 0 is class 0 at the left pixel, query 1 class 1 at the right one; the first layer says the contrary.

    The right pixel of the second image is void, and the third image is padding: all is right. Where both pixels are of
    class 0, it has an IoU of 1/2 and class 1 of 0.
    """
    chances = 9 * np.eye(2, 3)
    classes = np.broadcast_to([chances[::-1], chances], (3, 2, 2, 3)).astype(np.float32)
    masks = np.broadcast_to(np.array([[9.0, -9], [-9, 9]]), (3, 2, 1, 2, 2)).astype(np.float32)
    quality = jax.jit(lambda batch: mask_queries._semantic_quality(MaskOutputs(classes, masks), batch))
    batch = {"index": np.arange(3), "mask": np.array([1, 1, 0])}
    found = quality(batch | {"semantic": np.array([[[0, 1]], [[0, 255]], [[1, 0]]], np.uint8)})
    assert found["mean_iou"].compute()["mean_iou"] == 1
    found = quality(batch | {"semantic": np.array([[[0, 0]], [[0, 0]], [[1, 0]]], np.uint8)})
    assert found["mean_iou"].compute()["mean_iou"] == 0.25
    assert mask_queries._semantic_quality(MaskOutputs(classes, masks), batch) == {}


@pytest.mark.slow
def test_a_batch_of_void_alone_teaches_no_object():
    learner = LEARNER(model=Constant(), optimizer=optax.sgd(0.1))
    batch = {**batch_of(2), "image": np.ones((2, 4, 4, 1), np.float32)}
    state = learner.init(jax.random.key(0), batch)
    after, metrics = jax.jit(learner.update)(state, batch)
    chex.assert_tree_all_finite(after.params)
    assert metrics["mask"].compute() is None
    assert (after.params["logits"][..., -1] > 0).all()
    outputs = jax.jit(learner.predict)(after, batch)
    chex.assert_shape(outputs["segments"], (2, 4, 4))
    assert (outputs["segments"] == -1).all()


def test_the_wiring_of_mask_former_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        MaskFormer(Small(), 2, ("fine", "coarse"), False, 3, 32, 2, 8, 1, 32, 4), (2, 16, 24, 3), [27.768, 0.746486]
    )


class Strided(nn.Module):
    """Four maps of strides 2 to 16: pixels of the image."""

    def features(self, x, train=False):
        return {f"stage{k}": x[:, :: 2**k, :: 2**k] for k in (1, 2, 3, 4)}


def test_the_wiring_of_mask2former_is_as_it_was():
    """A regression: the number holds the code as it was."""
    fields = {"num_queries": 3, "features": 8, "num_heads": 2, "hidden_features": 4, "decoder_layers": 2}
    fields |= {"pixel_features": 32, "encoder_layers": 1, "encoder_hidden_features": 4, "mask_features": 4}
    assert_wiring(Mask2Former(Strided(), 2, **fields), (2, 16, 32, 3), [123.881, 109.463])


def test_published_networks_of_queries_give_their_last_layer_by_the_librarys_names():
    classes, masks = np.arange(12).reshape(1, 2, 3, 2), np.arange(24).reshape(1, 2, 2, 2, 3)
    model = SimpleNamespace(apply=lambda variables, images: MaskOutputs(classes + variables, masks + images))
    for family in (MASKFORMER, MASK2FORMER, EOMT):
        outputs = family.outputs(model, 1, {"pixel_values": 2})
        np.testing.assert_array_equal(outputs["class_queries_logits"], classes[:, 1] + 1)
        np.testing.assert_array_equal(outputs["masks_queries_logits"], masks[:, 1] + 2)


def test_configurations_of_maskformer_and_eomt_give_their_networks_fields():
    backbone = {"model_type": "swin", "depths": [1, 2], "embed_dim": 8, "num_heads": [2, 4], "patch_size": 4}
    backbone |= {"window_size": 7, "mlp_ratio": 3}
    decoder = {"num_queries": 9, "d_model": 16, "decoder_attention_heads": 5, "decoder_ffn_dim": 32}
    decoder |= {"decoder_layers": 6}
    config = {"backbone_config": backbone, "decoder_config": decoder, "id2label": dict.fromkeys("abc")}
    name, fields = MASKFORMER.model(config | {"fpn_feature_size": 24, "mask_feature_size": 12})
    swin = Swin(num_classes=0, stages=(1, 2), width=8, num_heads=(2, 4), patch_size=4, window_size=7, mlp_ratio=3)
    swin = swin.clone(always_shift=True)
    assert name == "maskformer_swin_t"
    assert fields == {
        "backbone": swin, "num_classes": 3, "num_queries": 9, "features": 16, "num_heads": 5, "hidden_features": 32,
        "decoder_layers": 6, "pixel_features": 24, "mask_features": 12,
    }  # fmt: skip
    # What transformers' EomtConfig has where a file leaves it out: the published network of 640 pixels.
    name, fields = EOMT.model({"id2label": dict.fromkeys("abcd")})
    assert (name, EoMT(**fields)) == ("eomt_large_640", create_model(name, num_classes=4))
    _, fields = EOMT.model({"id2label": {}, "hidden_size": 6, "mlp_ratio": 3})
    assert fields["mlp_features"] == 18


def test_a_configuration_of_mask2former_gives_its_fields():
    backbone = {"model_type": "swin", "depths": [1, 2], "embed_dim": 8, "num_heads": [2, 4], "patch_size": 4}
    backbone |= {"window_size": 7, "mlp_ratio": 3, "qkv_bias": True, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
    config = {"backbone_config": backbone | {"use_absolute_embeddings": False}, "id2label": dict.fromkeys("abc")}
    config |= {"num_queries": 9, "hidden_dim": 16, "num_attention_heads": 5, "dim_feedforward": 32}
    config |= {"decoder_layers": 6, "feature_size": 24, "encoder_layers": 4, "encoder_feedforward_dim": 20}
    config |= {"mask_feature_size": 12, "pre_norm": False, "activation_function": "relu", "common_stride": 4}
    config |= {"feature_strides": [4, 8, 16, 32], "enforce_input_projection": False}
    swin = Swin(num_classes=0, stages=(1, 2), width=8, num_heads=(2, 4), patch_size=4, window_size=7, mlp_ratio=3)
    swin = swin.clone(always_shift=True)
    assert MASK2FORMER.model(config) == (
        "mask2former_swin_t",
        {
            "backbone": swin, "num_classes": 3, "num_queries": 9, "features": 16, "num_heads": 5, "hidden_features": 32,
            "decoder_layers": 5, "pixel_features": 24, "encoder_layers": 4, "encoder_hidden_features": 20,
            "mask_features": 12,
        },
    )  # fmt: skip


def test_mask2former_has_transformers_sizes():
    """Those of Mask2FormerConfig, which counts the queries at first as a layer: 9 of 10 follow."""
    model = Mask2Former(Swin(num_classes=0), 3)
    assert (model.num_queries, model.features, model.num_heads, model.hidden_features) == (100, 256, 8, 2048)
    assert (model.decoder_layers, model.encoder_layers, model.encoder_hidden_features) == (9, 6, 1024)
    assert (model.pixel_features, model.mask_features, model.stage_norms) == (256, 256, True)
