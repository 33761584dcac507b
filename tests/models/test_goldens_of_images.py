"""Networks of images compute what torchvision's and timm's do: their logits, and the maps named here.

What has an output of its own beside the logits is in the test of its network.
"""

from operator import itemgetter

import pytest
from flax import linen as nn

from dlcore.ops import max_pool
from tests.models.parity import check_golden, check_training


def stages(*numbers, name="stages"):
    """Torch counts stages from 0."""
    return {f"{name}.{i}": itemgetter(f"stage{i + 1}") for i in numbers}


def halved(name):
    return lambda maps: max_pool(maps[name], (2, 2), (2, 2))


def pooled(maps):
    return nn.max_pool(maps["stem"], (3, 3), (2, 2), [(1, 1), (1, 1)])


STEM = {"stem": itemgetter("stem")}
LAYERS = {"maxpool": pooled} | {f"layer{i}": itemgetter(f"layer{i}") for i in range(1, 5)}
DENSE = {f"features.{name}": name for name in ("transition1", "transition3", "norm5")}
PARTS = {name: itemgetter(name) for name in ("stage2", "stage3", "stage4")}
BLOCKS = {f"trunk_output.block{i}": itemgetter(f"block{i}") for i in (1, 3)}
EFFICIENT = {"features.1": itemgetter("stage1"), "features.4": itemgetter("stage4"), "features.8": itemgetter("last")}
WINDOWS = {"features.1": itemgetter("stage1"), "features.5": itemgetter("stage3")}

CASES = {
    "tv_alexnet": (("ZO-02",), {"features": itemgetter("pool5"), "classifier.1": "classifier_1"}),
    "timm_beit_base_patch16_224": (("AT-37",), {}),
    "timm_cait_xxs24_224": (("AT-39",), {}),
    "tv_convnext_tiny": (
        (),
        {"features.0": "features_0_1"} | {f"features.{2 * i + 1}": itemgetter(f"stage{i + 1}") for i in (0, 1, 3)},
    ),
    "timm_convnextv2_atto": (("ZO-29",), {"stem": "features_0_1", **stages(0, 3)}),
    "timm_deit_tiny_distilled_patch16_224": (("AT-23",), {f"blocks.{i}": f"blocks_{i}" for i in (0, 6)}),
    "tv_densenet121": (("ZO-17",), {"features.pool0": pooled, **DENSE}),
    "tv_efficientnet_b0": (("ZO-22",), EFFICIENT),
    "tv_efficientnet_v2_s": (("ZO-28",), EFFICIENT | {"features.7": itemgetter("last")}),
    "timm_eva02_tiny_patch14_224": (("AT-38",), {}),
    "timm_fastvit_t8": (("ZO-32",), STEM | stages(0, 3)),
    "tv_maxvit_t": (("ZO-33",), STEM | stages(0, 3, name="blocks")),
    "timm_mixer_s16_224": (("AT-25",), {f"blocks.{i}": f"blocks_{i}" for i in (0, 4)}),
    "timm_mobilenetv1_100": (("ZO-19",), {"bn1": itemgetter("stem"), **stages(1, 4, name="blocks")}),
    "tv_mobilenet_v2": (("ZO-20",), {"features.18": itemgetter("last")}),
    "tv_mobilenet_v3_small": ((), {"features.12": itemgetter("last")}),
    "timm_mobilenetv4_conv_small": (("ZO-30",), {"conv_stem": "stem/0", **stages(1, 4, name="blocks")}),
    "timm_nf_resnet50": ((), {**STEM, **stages(0), "stages.3": "stages_3_2"}),
    "tv_regnet_y_400mf": ((), {"stem": "stem", **BLOCKS}),
    "timm_repvgg_a0": (("ZO-31",), stages(0, 3)),
    "tv_resnet18": (("ZO-11", "ZO-13"), LAYERS),
    "tv_resnet50": (("ZO-11", "ZO-13"), LAYERS),
    "tv_resnext50_32x4d": (("ZO-15",), LAYERS),
    "timm_seresnet50": (("ZO-16",), LAYERS),
    "timm_resnetv2_50": ((), {**STEM, **stages(0, 1, 2), "norm": itemgetter("stage4")}),
    "timm_vit_small_patch16_rope_224": (("AT-47",), {}),
    "tv_shufflenet_v2_x1_0": (("ZO-21",), {"maxpool": pooled, **PARTS}),
    "tv_squeezenet1_0": ((), {"features": itemgetter("stage3")}),
    "tv_swin_t": (("AT-24",), {"features.0": "features_0_2", "features.2": "features_2", **WINDOWS}),
    "tv_swin_v2_t": (("AT-36",), WINDOWS),
    "tv_vgg16": (
        ("ZO-04",),
        {"features.4": halved("stage1"), "features.16": halved("relu3_3"), "features": halved("stage5")},
    ),
    "tv_vit_b_16": (
        ("AT-21", "AT-22"),
        {"conv_proj": "patch_embed", "encoder.ln": "norm"}
        | {f"encoder.layers.encoder_layer_{i}": f"blocks_{i}" for i in (0, 6)},
    ),
    "timm_legacy_xception": (("ZO-18",), {}),
    "timm_xception41": ((), STEM),
}
MARKED = [pytest.param(file, marks=[pytest.mark.covers(*rows)] if rows else []) for file, (rows, _) in CASES.items()]


@pytest.mark.slow
@pytest.mark.weekly(
    unless=[
        *("timm_mixer_s16_224", "timm_mobilenetv1_100", "tv_resnet18", "tv_resnet50", "tv_squeezenet1_0"),
        "tv_vit_b_16",
    ]
)
@pytest.mark.parametrize("file", MARKED)
def test_logits_and_maps_equal_the_publishers(file):
    check_golden(file, file.partition("_")[2], CASES[file][1], channels_last=file == "tv_swin_t" or "swin_v2" in file)


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("file", "fields"),
    [
        pytest.param("tv_densenet121", {}, marks=pytest.mark.covers("ZO-17")),
        pytest.param("tv_mobilenet_v2", {"dropout": 0.0}, marks=pytest.mark.covers("ZO-20")),
        pytest.param("tv_resnet18", {}, marks=pytest.mark.covers("ZO-11")),
    ],
)
def test_training_equals_torchvision(file, fields):
    check_training(file, file.partition("_")[2], **fields)
