"""Tiny networks of images in training: one checked step, and a few steps of Adam."""

import numpy as np
import pytest

from dlcore.models import create_model, efficientnet, mobilenet_v3, mobilenet_v4
from tests.models.training import check_step, losses

FUSED = (efficientnet.StageSetting(1, 3, 1, 8, 1, fused=True), efficientnet.StageSetting(2, 3, 2, 8, 2))
V3 = (mobilenet_v3.BlockSetting(3, 8, 8, True, False, 2), mobilenet_v3.BlockSetting(5, 16, 8, True, True, 1))
V4 = (
    (mobilenet_v4.BlockSetting("fused", 8, 3, 2),),
    tuple(
        mobilenet_v4.BlockSetting(*block)
        for block in (("uib", 8, 3, 2, 2, 3), ("uib", 8, 0, 1, 2, 3), ("mqa", 8, 3, 2, 4, 0, 2, 4))
    ),
)
REMAT = {"remat": "full"}
FAST = {**REMAT, "stages": (1, 1), "widths": (8, 32), "attention": True, "layer_scale": 0.5}
MAX = {**REMAT, "stages": (1, 1), "widths": (8, 8), "stem_width": 4, "partition_size": 2, "head_features": 4}
MOBILE = {**REMAT, "widths": (8, 8, 12, 16, 24, 32, 64), "hidden_sizes": (16, 24, 32), "num_heads": 2, "dropout": 0.0}
ALIGNED = {"entry_widths": (8,), "middle_blocks": 0, "exit_widths": ((8, 8, 8), (8, 8, 8))}
HYBRID = {**REMAT, "settings": V4, "stem_width": 8, "last_channel": 16}
SHUFFLE = {"stages": (2,), "widths": (16,), "stem_width": 8, "last_channel": 16}

STEPS = {
    "densenet121": ({"stages": (2, 1), "growth_rate": 4, "stem_width": 8, "dropout": 0.2}, 24),
    "efficientnet_b0": ({"settings": FUSED, "stem_width": 8, "last_channel": 16, "momentum": 0.99}, 16),
    "fastvit_sa12": (FAST, 32),
    "maxvit_t": ({**MAX, "drop_path": 0.0}, 16),
    "mnasnet1_0": ({"settings": ((3, 16, 3, 2, 2),), "width_mult": 0.5}, 16),
    "mobilenetv1_100": ({"settings": ((16, 1, 1), (24, 2, 2)), "width_mult": 0.5}, 16),
    "mobilenet_v2": ({"settings": ((1, 8, 1, 1), (6, 8, 2, 2)), "width_mult": 0.5}, 16),
    "mobilenet_v3_large": ({"settings": V3, "hidden": 16, "width_mult": 1.0}, 16),
    "mobilenetv4_hybrid_medium": (
        {**REMAT, "settings": V4, "stem_width": 8, "last_channel": 16, "layer_scale": 0.5},
        32,
    ),
    "mobilevit_s": ({**MOBILE, "depths": (1, 1, 1)}, 64),
    "nf_resnet50": ({"stages": (1, 1), "width": 4, "stem": "cifar", "zero_init_residual": False}, 8),
    "regnet_y_400mf": ({"depth": 2, "width": 16, "slope": 16.0, "step": 2.0, "group_width": 8, "stem_width": 16}, 16),
    "repvgg_a0": ({**REMAT, "stages": (1, 2), "widths": (8, 12), "stem_width": 4}, 16),
    "shufflenet_v2_x1_0": (SHUFFLE, 16),
    "legacy_xception": (
        {"stem_widths": (8, 8), "entry_widths": (8,), "middle_blocks": 0, "exit_widths": (8, 8, 8)},
        24,
    ),
    "xception41": (ALIGNED, 16),
}
MOMENTA = {"efficientnet_b0": 0.99, "maxvit_t": 0.99, "mnasnet1_0": 0.9997, "mobilenet_v3_large": 0.99}


@pytest.mark.slow
@pytest.mark.weekly(unless=["densenet121", "mobilenetv1_100", "nf_resnet50", "shufflenet_v2_x1_0"])
@pytest.mark.parametrize("name", STEPS)
def test_one_step(name):
    fields, side = STEPS[name]
    batch = 4 if name == "repvgg_a0" else 8
    check_step(create_model(name, **fields), (batch, side, side, 3), momentum=MOMENTA.get(name, 0.9))


ALEX = {"widths": (4, 8, 8, 8, 4), "hidden": 16}
FADING = {"batch": 2, "gain": 10}
"""0.01 randn fades in layers as narrow as these."""
CASES = {
    "alexnet": (ALEX, 67, {"batch": 2}),
    "alexnet_two_tower": (ALEX, 67, FADING),
    "all_cnn_c": ({"width": 4, "input_dropout": 0.0}, 12, {}),
    "inception_v3": ({"width_mult": 0.03, "stem": "cifar", "modules": ("6a", "7b")}, 8, {"rate": 0.003}),
    "nin_cifar": ({"stages": ((8, 6, 4), (8, 8, 8), (8, 8))}, 8, {}),
    "squeezenet1_0": ({"stem_conv": (8, 3, 1), "stages": (((4, 4),), ((4, 8),))}, 8, {}),
    "zfnet": (ALEX, 53, FADING),
}
ROWS = {"all_cnn_c": "ZO-06", "nin_cifar": "ZO-05"}


@pytest.mark.slow
@pytest.mark.weekly(only=["alexnet", "inception_v3", "zfnet"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.covers(ROWS[name])] if name in ROWS else []) for name in CASES]
)
def test_it_learns(name):
    fields, side, options = CASES[name]
    values = losses(create_model(name, num_classes=2, dropout=0.0, **fields), side, **options)
    assert values[0] == pytest.approx(np.log(2))
    assert values[-1] < 0.8 * values[0]


PYRAMID = {"stages": (1,), "widths": (8,), "num_heads": (2,), "reductions": (2,), "mlp_ratios": (2,)}
ONE_STAGE = {"stages": (1,), "widths": (4,), "patch_size": 2}
WINDOWS = {"stages": (2,), "width": 8, "num_heads": (2,), "patch_size": 2, "window_size": 4, "mlp_ratio": 2}


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("name", "fields", "side"),
    [
        ("convnext_tiny", {**ONE_STAGE, "layer_scale": 0.1}, 8),
        ("convnextv2_atto", ONE_STAGE, 8),
        ("mixer_s16_224", {"patch_size": 4, "depth": 1, "width": 8}, 8),
        ("pvt_v2_b0", PYRAMID, 16),
        ("swin_t", {**WINDOWS, "drop_path": 0.1}, 12),
    ],
)
def test_five_steps_lower_the_loss(name, fields, side):
    values = losses(create_model(name, remat="full", num_classes=5, **fields), side=side, steps=5, batch=8)
    assert values[0] == pytest.approx(np.log(5), rel=1e-5)
    assert values[-1] < values[0]
