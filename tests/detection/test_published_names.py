"""Detectors from the names of their published files, which are older than the goldens' versions."""

import json
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.detr import DETR
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.fcos import FCOS
from dlcore.detection.retinanet import RetinaNet
from dlcore.detection.ssd import SSD
from dlcore.detection.torch_detectors import MODELS, count_classes, example_inputs
from dlcore.detection.torch_weights import from_torch_names
from dlcore.models import create_model
from dlcore.models.torch_weights import _torch_name, fill_from_torch
from dlcore.models.vit import ViT
from dlcore.segmentation.maskformer import MaskFormer
from dlcore.vision3d.dpt import DPT
from tests.detection.detectors import GOLDENS, TINY_DETR, Golden


def with_timms_resnet(weights, front):
    """The backbone under timm's names: conv1, bn1, layer1.0.conv1, layer2.0.downsample.0."""
    names = {"convolution": "conv", "normalization": "bn"}
    renamed = {}
    for key, value in weights.items():
        found = re.fullmatch(r"model\.backbone\.model\.(.*)\.(convolution|normalization)\.(\w+)", key)
        if found:
            place, part, leaf = found.groups()
            digits = [int(d) for d in re.findall(r"\d+", place)]
            if place == "embedder.embedder":
                key = f"{front}{names[part]}1.{leaf}"
            elif place.endswith("shortcut"):
                key = f"{front}layer{digits[0] + 1}.{digits[1]}.downsample.{int(part == 'normalization')}.{leaf}"
            else:
                key = f"{front}layer{digits[0] + 1}.{digits[1]}.{names[part]}{digits[2] + 1}.{leaf}"
        renamed[key] = value
    return renamed


def as_published(weights):
    """facebook/detr-resnet-50 of transformers' hub."""
    renamed = with_timms_resnet(weights, "model.backbone.conv_encoder.model.")
    renamed = {key.replace("_attn.o_proj.", "_attn.out_proj."): value for key, value in renamed.items()}
    return {key.replace(".mlp.fc", ".fc"): value for key, value in renamed.items()}


def as_the_authors(weights):
    """detr-r50-e632da11.pth of facebookresearch/detr."""
    renamed = with_timms_resnet(weights, "backbone.0.body.")
    fused = {}
    for key, value in renamed.items():
        norm2 = "norm2" if ".encoder." in key else "norm3"
        for new, old in (
            ("model.input_projection.", "input_proj."),
            ("model.query_position_embeddings.", "query_embed."),
            ("class_labels_classifier.", "class_embed."),
            ("bbox_predictor.", "bbox_embed."),
            ("model.encoder.", "transformer.encoder."),
            ("model.decoder.layernorm.", "transformer.decoder.norm."),
            ("model.decoder.", "transformer.decoder."),
            ("encoder_attn_layer_norm", "norm2"),
            ("self_attn_layer_norm", "norm1"),
            ("final_layer_norm", norm2),
            ("encoder_attn", "multihead_attn"),
            (".mlp.fc", ".linear"),
            (".o_proj.", ".out_proj."),
        ):
            key = key.replace(new, old)
        found = re.fullmatch(r"(.*)\.([qkv])_proj\.(\w+)", key)
        if found:
            fused.setdefault(f"{found[1]}.in_proj_{found[3]}", {})[found[2]] = value
        else:
            fused[key] = value
    return {
        key: np.concatenate([value[part] for part in "qkv"]) if isinstance(value, dict) else value
        for key, value in fused.items()
    }


LAYOUTS = {
    "timm": lambda weights: with_timms_resnet(weights, "model.backbone.model."),
    "published": as_published,
    "authors": as_the_authors,
    "wrapped": lambda weights: {f"module.{key}": value for key, value in as_published(weights).items()},
    "own ResNet, older": lambda weights: {
        key.replace("model.backbone.model.", "model.backbone.conv_encoder.model."): value
        for key, value in weights.items()
    },
}


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_detr_from_every_published_layout():
    golden = Golden("hf_detr")
    want = from_torch_names(TINY_DETR, golden.weights)
    for about, rename in LAYOUTS.items():
        weights = rename(golden.weights)
        assert set(weights) != set(golden.weights), about
        jax.tree.map(np.testing.assert_array_equal, from_torch_names(TINY_DETR, weights), want)
    assert "model.backbone.conv_encoder.model.layer2.0.downsample.1.running_mean" in as_published(golden.weights)
    chex.assert_shape(as_the_authors(golden.weights)["transformer.decoder.layers.1.multihead_attn.in_proj_bias"], (96,))


@pytest.mark.covers("AT-32")
def test_names_of_detr_by_hand():
    """Every name of the published file becomes the one of today, without building the network."""
    weights = Golden("hf_detr").weights
    for about, rename in LAYOUTS.items():
        if about in ("authors", "wrapped"):  # whose entries are cut and unwrapped when they are loaded
            continue
        names = set()
        for key in rename(weights):
            for pattern, replacement in DETR.TORCH_OLD_NAMES:
                key = re.sub(pattern, replacement, key)
            names.add(key)
        assert names == set(weights), about


def as_before_0_13(weights):
    """torchvision's first files: convolutions of the pyramid and the heads are not yet blocks of two modules."""
    renamed = {}
    for key, value in weights.items():
        key = re.sub(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.0\.", r"\1.", key)
        key = re.sub(r"(_head\.conv)\.(\d)\.0\.", lambda m: f"{m[1]}.{2 * int(m[2])}.", key)
        renamed[key] = value
    return renamed


@pytest.mark.parametrize(
    ("detector", "file"),
    [
        pytest.param(RetinaNet, "tvdet_retinanet_resnet50_fpn", marks=pytest.mark.covers("DE-18"), id="RetinaNet"),
        pytest.param(FCOS, "tvdet_fcos_resnet50_fpn", marks=pytest.mark.covers("DE-19"), id="FCOS"),
    ],
)
def test_names_before_torchvision_0_13(detector, file):
    """With the default stages, on the real network; entries stand for themselves: each has a number of its own."""
    model = detector(create_model("resnet50"), 91)
    assert model.stages == ("layer2", "layer3", "layer4")
    shapes = json.loads(str(np.load(GOLDENS / f"{file}.npz")["meta"]))["state_dict"]
    weights = {key: np.broadcast_to(np.float32(i), shape) for i, (key, shape) in enumerate(shapes)}
    older = as_before_0_13(weights)
    assert "backbone.fpn.inner_blocks.2.weight" in older
    got, want = (names_of(model, entries) for entries in (older, weights))
    assert got == want
    if detector is RetinaNet:
        assert older["head.regression_head.conv.6.bias"] is weights["head.regression_head.conv.3.0.bias"]


def names_of(model, entries):
    """{today's key: its number}."""
    found = {}
    for key, value in entries.items():
        for pattern, replacement in model.TORCH_OLD_NAMES:
            key = re.sub(pattern, replacement, key)
        found[key] = float(np.asarray(value).reshape(-1)[0])
    return found


@pytest.mark.parametrize(
    ("rules", "key", "name"),
    [
        (FCOS.TORCH_NAMES, "regression_conv2.bias", "head.regression_head.conv.6.bias"),
        (FCOS.TORCH_NAMES, "classification_norm2.bias", "head.classification_head.conv.7.bias"),
        (FasterRCNN.TORCH_NAMES, "keypoint_head.conv3.bias", "roi_heads.keypoint_head.6.bias"),
        (FasterRCNN.TORCH_OLD_NAMES, "roi_heads.mask_head.mask_fcn3.bias", "roi_heads.mask_head.2.0.bias"),
        (SSD.TORCH_NAMES, "backbone.conv5.3.bias", "backbone.extra.0.5.bias"),
        (DPT(ViT()).TORCH_NAMES, "depth_head.conv3.bias", "head.head.4.bias"),
        (
            MaskFormer.TORCH_OLD_NAMES,
            "model.pixel_level_module.encoder.hidden_states_norms.2.bias",
            "model.pixel_level_module.encoder.hidden_states_norms.stage3.bias",
        ),
    ],
)
def test_numbers_in_names_count_the_layers_between(rules, key, name):
    """A convolution, a normalization and a ReLU are three layers, a convolution and a ReLU are two."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    assert key == name


def test_a_wrapper_before_every_name_is_left_out():
    shapes = {"params": {"conv": {"kernel": jnp.zeros((1, 1, 2, 3)), "bias": jnp.zeros(3)}}}
    entries = {"conv.weight": np.arange(6.0).reshape(3, 2, 1, 1), "conv.bias": np.ones(3)}
    want = fill_from_torch(shapes, entries, (), what="a layer")
    for front in ("model.", "module.", "module.model."):
        wrapped = {front + key: value for key, value in entries.items()}
        got = fill_from_torch(shapes, wrapped, (), what="a layer")
        jax.tree.map(np.testing.assert_array_equal, got, want)
    np.testing.assert_array_equal(want["params"]["conv"]["kernel"][0, 0], [[0, 2, 4], [1, 3, 5]])
    one = {"model.conv.weight": entries["conv.weight"], "conv.bias": entries["conv.bias"]}
    with pytest.raises(ValueError, match=r"1 missing: conv.weight; 1 left over: model.conv.weight"):
        fill_from_torch(shapes, one, (), what="a layer")


def torch_zeros(model, names):
    """Zeros by torch's names, in torch's order of axes, without memory."""
    weights = {}
    for path, leaf in jax.tree.leaves_with_path(jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model))):
        path = jax.tree_util.keystr(path, simple=True, separator="/")
        shape = leaf.shape
        if path.endswith("/kernel") and len(shape) > 1:
            shape = (shape[-1], shape[-2], *shape[:-2])
        weights[_torch_name(path, names)] = np.broadcast_to(np.float32(0), shape)
    return weights


@pytest.mark.weekly
@pytest.mark.parametrize("name", [name for name in MODELS if hasattr(create_model(name), "num_classes")])
def test_detectors_of_other_classes_say_how_many(name):
    """Fine-tuned to five classes; Mask R-CNN has them in two heads."""
    model = create_model(name)
    head = getattr(model, "mask_head", None)
    heads = {} if head is None else {"mask_head": head.clone(num_classes=5)}
    small = model.clone(num_classes=5, **heads)
    assert count_classes(model, torch_zeros(small, tuple(model.TORCH_NAMES))) == 5


@pytest.mark.slow
def test_ssd_of_other_classes_is_read_without_a_flag():
    model = create_model("ssd300_vgg16")
    weights = torch_zeros(model.clone(num_classes=2), tuple(model.TORCH_NAMES))
    assert count_classes(model, weights) == 2
    key = next(key for key in weights if "classification_head" in key and key.endswith("bias"))
    with pytest.raises(ValueError, match=r"its heads differ in the number of classes: \S+ has 2, \S+ has 3"):
        # Four anchors of 2 classes and the background have 12 numbers; of 3, 16.
        count_classes(model, weights | {key: np.zeros(len(weights[key]) // 3 * 4)})
