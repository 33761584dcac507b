"""The programs of networks that the default tier does not run: families of tokens, pairs, encoders and clips, and
what a training or an option changes in those of images.

The slow and the weekly tier compare the outputs of these networks with those of their authors' code. So that the
default tier notices a stride, an epsilon, a rate, a sign or an order that changed, a digest of each program is kept,
as in test_manifests.py, which has the first variant of each family of images. The digest of a program with options that
no golden has is a regression: it holds the code as it was. Where one fails without a change that is meant,
`python -m tests.models.test_programs LABEL` prints what the digest is of, for a diff of two commits. After one that is
meant, and whose slow and weekly tests pass:
DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/models/test_programs.py -m "slow or not slow" -n 0
"""

import sys

import numpy as np
import pytest

from dlcore.models import create_model, efficientnet, mobilenet_v3
from dlcore.models.googlenet import NaiveInception
from dlcore.models.mobilenet_v4 import HYBRID_MEDIUM as HYBRID
from dlcore.models.registry import example_inputs
from dlcore.models.transformer import Transformer
from dlcore.models.vjepa2 import TubePredictor
from dlcore.nn.cache import Cache, Memory
from tests.models.tracing import assert_digest, program_of

TEXT = {"vocab_size": 9, "window": 6, "num_heads": 2, "width": 8, "mlp_features": 12}
PAIR = {"image_size": 4, "patch_size": 2, "window": 5, "embedding_size": 6} | {
    f"{part}_{what}": size for part in ("vision", "text") for what, size in (("depth", 1), ("width", 8), ("heads", 2))
}
VIT = {"image_size": 4, "patch_size": 2, "depth": 2, "width": 8, "num_heads": 2, "mlp_features": 12, "num_classes": 3}
DROPS = {"dropout": 0.1, "attention_dropout": 0.2, "drop_path": 0.3}
SCALED = {"layer_scale": 0.5, "epsilon": 1e-3}
OTHER = {"dropout": 0.1, "epsilon": 1e-3}
UNITS = {"mlp_features": 10, "text_mlp_features": 12, "activation": "relu", "epsilon": 1e-3}
WINDOWS = {"window_size": 4, "mlp_ratio": 2.0, "patch_size": 2}
MASKED = {"patch_size": 2, "depth": 1, "width": 8, "num_heads": 2, "mlp_features": 12, "decoder_depth": 1}
MASKED |= {"decoder_width": 8, "decoder_heads": 1, "decoder_features": 10}
DECODED = {**TEXT, "encoder_layers": 1, "decoder_layers": 1}
TOKENS = np.ones((2, 3), np.int32)
FUSED = efficientnet.StageSetting(1, 3, 1, 8, 1, fused=True)


def carry():
    """Nothing read yet of two texts, by one block of 2 heads of 4 channels, beside a memory of 5 tokens."""
    memory = {"states": np.zeros((2, 5, 8), np.float32), "mask": np.ones((2, 1, 1, 5), bool)}
    return {"caches": ({"self": Cache.zeros(2, 6, 2, 4), "cross": Memory()},), "memory": memory}


CASES = {
    "bart": ("bart_base", {**TEXT, "encoder_layers": 1, "decoder_layers": 1, "attention_dropout": 0.2}, True),
    "bert": ("bert_base", {**TEXT, "num_layers": 1, "dropout": 0.2}, True),
    "gpt2": ("gpt2", {"vocab_size": 9, "window": 6, "num_heads": 2, "width": 8, "num_layers": 1, **OTHER}, True),
    "llama": (
        "llama2_7b",
        {**TEXT, "num_layers": 1, "num_kv_heads": 1, "qk_norm": True, "head_features": 6, "period": 50.0, **OTHER},
        True,
    ),
    "t5": (
        "t5_small",
        {"encoder_layers": 1, "decoder_layers": 1, "gated": True, "tied": False, "num_buckets": 8, "max_distance": 20}
        | {"pad_token": 3, **OTHER},
        True,
    ),
    "vit_gpt2": (
        "vit_gpt2",
        {**TEXT, "encoder_layers": 1, "decoder_layers": 1, "encoder_epsilon": 0.01, **OTHER},
        True,
    ),
    "clip": ("clip_vit_b_32", PAIR | UNITS, False),
    "siglip": ("siglip_base_patch16_224", PAIR | UNITS, False),
    "siglip2": ("siglip2_base_patch16_naflex", PAIR | UNITS, False),
    "dinov2": ("dinov2_small", {**VIT, **DROPS, **SCALED, "swiglu": True, "num_registers": 2}, True),
    "mae": ("mae_vit_b_16", MASKED, False),
    "videomae": ("videomae_vit_b_16", MASKED, False),
    "vjepa2": (
        "vjepa2_vitl_fpc64_256",
        {"image_size": 4, "frames": 4, "patch_size": 2, "depth": 1, "width": 24, "num_heads": 2, "mlp_features": 12}
        | {"predictor_depth": 1, "predictor_width": 12, "predictor_heads": 1, "predictor_features": 8},
        False,
    ),
    "mvit_v2": ("mvit_v2_s", {"stages": (1, 1), "frames": 4, "image_size": 32, "width": 8, "drop_path": 0.2}, True),
    "mvit_v1": ("mvit_v1_b", {"stages": (1, 1), "frames": 4, "image_size": 32, "width": 8, "dropout": 0.2}, True),
    "s3d": ("s3d", {"width_mult": 0.02}, True),
    "swin3d": ("swin3d_t", {"stages": (2, 1), "width": 8, "num_heads": (1, 2), **DROPS}, True),
    "r3d": ("r3d_18", {"width": 8}, True),
    "mc3": ("mc3_18", {"width": 8}, False),
    "r2plus1d": ("r2plus1d_18", {"width": 8}, True),
    "timesformer": ("timesformer_base", {**VIT, "frames": 2, "drop_path": 0.3}, True),
    "vivit": (
        "vivit_b_16x2",
        {"frames": 4, "image_size": 4, "tubelet": (2, 2, 2), "depth": 1, "width": 8, "num_heads": 2, "mlp_features": 12}
        | {"pooler": True, "dropout": 0.1},
        True,
    ),
    "vit": ("vit_s_16", {**VIT, **DROPS, **SCALED, "token_last": True}, True),
    "vit_mean": ("vit_s_16", {**VIT, "pool": "mean", "position_features": 3, "scan_blocks": True}, False),
    "beit": ("beit_base_patch16_224", {**VIT, **DROPS, **SCALED}, True),
    "cait": ("cait_xxs24_224", {**VIT, **DROPS, **SCALED}, True),
    "deit": ("deit_tiny_distilled_patch16_224", {**VIT, **DROPS, **SCALED}, True),
    "dinov3": ("dinov3_vits16", {**VIT, **DROPS, **SCALED, "swiglu": True, "num_registers": 2}, True),
    "eva02": ("eva02_tiny_patch14_224", {**VIT, **DROPS, **SCALED, "mlp_norm": True}, True),
    "eva02_plain": ("eva02_tiny_patch14_224", VIT, False),
    "aimv2": ("aimv2_large_patch14_224", {**VIT, **DROPS, **SCALED}, True),
    "rope_vit": ("vit_small_patch16_rope_224", {**VIT, **DROPS, **SCALED, "frequencies": "mixed"}, True),
    "rope_vit_axial": ("vit_small_patch16_rope_224", VIT, False),
    "ijepa": ("ijepa_vith14_1k", VIT, False),
    "swin": ("swin_t", {"stages": (1, 2), "width": 8, "num_heads": (1, 2), **DROPS, **WINDOWS}, True),
    "swin_v2": (
        "swin_v2_t",
        {"stages": (1, 2), "width": 8, "num_heads": (1, 2), "pretrained_window": (5, 4), **DROPS, **WINDOWS},
        True,
    ),
    "convnextv2": (
        "convnextv2_atto",
        {"stages": (1, 2), "widths": (4, 8), "drop_path": 0.2, "patch_size": 2, "layer_scale": 0.5},
        True,
    ),
    "pvt_v2": (
        "pvt_v2_b0",
        {"stages": (1, 2), "widths": (4, 8), "num_heads": (1, 2), "reductions": (2, 1), "mlp_ratios": (2, 2)}
        | {"linear": True, **DROPS},
        True,
    ),
    "mixer": (
        "mixer_s16_224",
        {"depth": 1, "width": 8, "dropout": 0.1, "drop_path": 0.2, "patch_size": 32, "tokens_ratio": 0.25}
        | {"channels_ratio": 2.0},
        True,
    ),
    "fastvit": (
        "fastvit_sa12",
        {"stages": (1, 1), "widths": (4, 32), "drop_path": 0.2, "mlp_ratio": 2.0, "layer_scale": 0.5},
        True,
    ),
    "repvgg": ("repvgg_a0", {"stages": (1, 2), "widths": (4, 8), "stem_width": 4, "folded": True}, False),
    "resnet": ("resnet18", {"stages": (1, 1), "width": 4, "use_se": True, "zero_init_residual": True}, True),
    "densenet": (
        "densenet121",
        {"stages": (1, 2), "growth_rate": 4, "stem_width": 4, "dropout": 0.1, "bottleneck": 2},
        True,
    ),
    "maxvit": ("maxvit_t", {"stages": (1, 1), "widths": (8, 8), "stem_width": 4, "head_features": 4}, True),
    "marian": ("marian", {**TEXT, "encoder_layers": 1, "decoder_layers": 1}, False),
    "gpt2_scan": (
        "gpt2",
        {"vocab_size": 9, "window": 6, "num_heads": 2, "width": 8, "num_layers": 2, "scan_blocks": True, **OTHER},
        True,
    ),
    "densenet_cifar": ("densenet100_cifar", {"stages": (1, 2), "growth_rate": 4, "stem_width": 4}, False),
    "googlenet_cifar": (
        "googlenet",
        {"stem": "cifar", "modules": ("3a", "4a", "4d"), "width_mult": 0.1, "transform_input": True},
        {"method": "auxiliary", "train": True},
    ),
    "googlenet_plain": (
        "googlenet",
        {"stem": "cifar", "modules": ("4a",), "width_mult": 0.1, "batch_norm": False, "largest_kernel": 5},
        False,
    ),
    "naive_inception": (
        NaiveInception,
        {"widths": (2, 3, 4), "batch_norm": False},
        {"train": True},
        lambda model: (np.zeros((1, 5, 6, 3)),),
    ),
    "inception_cifar": (
        "inception_v3",
        {"stem": "cifar", "modules": ("6e",), "width_mult": 0.1},
        {"method": "auxiliary", "train": True},
    ),
    "inception_fid": ("inception_v3_fid", {"stem": "cifar", "modules": ("7c",), "width_mult": 0.1}, False),
    "deit_auxiliary": ("deit_tiny_distilled_patch16_224", VIT, {"method": "auxiliary"}),
    "aimv2_attention": ("aimv2_large_patch14_224", {**VIT, "pool": "attention"}, False),
    "beit_tokens": ("beit_base_patch16_224", {**VIT, "pool": "none", "num_classes": 0}, False),
    "dinov2_tokens": ("dinov2_small", {**VIT, "num_registers": 2}, {"method": "tokens"}),
    "dinov3_tokens": ("dinov3_vits16", VIT, {"method": "tokens"}),
    "dinov3_convnext": ("dinov3_convnext_tiny", {"stages": (1, 1), "widths": (4, 8)}, {"method": "tokens"}),
    "maxvit_headless": (
        "maxvit_t",
        {"stages": (1,), "widths": (8,), "stem_width": 4, "head_features": 4, "num_classes": 0},
        False,
    ),
    "timesformer_tokens": ("timesformer_base", {**VIT, "frames": 2, "num_classes": 0}, {"method": "tokens"}),
    "timesformer_headless": ("timesformer_base", {**VIT, "frames": 2, "num_classes": 0}, False),
    "siglip_logits": ("siglip_base_patch16_224", PAIR, {"method": "logits"}),
    "vitdet": ("vitdet_b", {**VIT, "global_blocks": (0,), "residual_blocks": (1,), "relative_positions": True}, False),
    "repvgg_gated": ("repvgg_d2se", {"stages": (1, 2), "widths": (16, 32), "stem_width": 16}, True),
    "efficientnet": (
        "efficientnet_b0",
        {"settings": efficientnet.B0[1:2], "width_mult": 0.25, "depth_mult": 1.2},
        True,
    ),
    "efficientnet_v2": (
        "efficientnet_v2_s",
        {"settings": (FUSED._replace(layers=2), FUSED._replace(expansion=4, stride=2, layers=2, features=16))}
        | {"stem_width": 8, "last_channel": 16, "momentum": 0.99, "padding": "same"},
        True,
    ),
    "hiera": (
        "hiera_tiny_224",
        {"image_size": 32, "stages": (1, 2), "width": 8, "num_heads": (1, 2), "unit": 2, "in_units": (True, False)}
        | {"mlp_ratio": 2.0, "drop_path": 0.3},
        True,
    ),
    "mlp": ("mlp", {"hidden": (3, 4), "dropout": 0.1, "dropout_form": "vanilla", "activation": "tanh"}, True),
    "mlp_drop_connect": ("mlp", {"hidden": (3, 4), "drop_connect": 0.3}, True),
    "mobilenet_v3": (
        "mobilenet_v3_large",
        {"settings": mobilenet_v3.LARGE[11:14], "hidden": 24, "width_mult": 0.25}
        | {"first_blocks": True, "dilate": True},
        True,
    ),
    "mobilenet_v4": (
        "mobilenetv4_hybrid_medium",
        {"settings": (HYBRID[0], HYBRID[2][4:6], HYBRID[-1]), "stem_width": 8, "last_channel": 16, "width_mult": 0.5}
        | {"layer_scale": 0.5, "drop_path": 0.3},
        True,
    ),
    "resnet_cifar": (
        "resnet8_cifar",
        {"stages": (1, 2), "width": 4, "stem_stride": 2, "zero_init_residual": True, "drop_path": 0.3},
        True,
    ),
    "resnet_dilated": (
        "resnext50_32x4d",
        {"stages": (1, 2, 2), "width": 8, "groups": 2, "base_width": 16, "dilate": (False, True), "skip": False},
        True,
    ),
    "vgg": ("vgg16_bn", {"stages": (1, 2), "width": 4, "hidden": 6, "pooling": "avg"}, True),
    "vgg_fractional": ("vgg9_cifar", {"stages": (1, 2, 1), "width": 4, "pool_ratio": 1.5}, True),
    "fastvit_folded": ("fastvit_sa12", {"stages": (1, 1), "widths": (4, 32), "folded": True}, False),
    "vitdet_train": ("vitdet_b", {**VIT, "global_blocks": (1,), "window_size": 2, "drop_path": 0.3}, True),
    "vit_tokens": ("vit_s_16", VIT, {"method": "tokens"}),
    "vit_tokens_last": ("vit_s_16", {**VIT, "token_last": True}, {"method": "tokens"}),
    "clip_resnet": (
        "clip_resnet50",
        {**PAIR, "image_size": 32, "vision_width": 4, "vision_heads": 2, "vision_stages": (1, 2)},
        False,
    ),
    "gpt2_prefill": (
        "gpt2",
        {"vocab_size": 9, "window": 6, "num_heads": 2, "width": 8, "num_layers": 2, "scan_blocks": True},
        {"method": "prefill"},
        lambda model: (TOKENS, np.array([2, 3]), model.init_cache(2)),
    ),
    "llama_prefill": (
        "llama2_7b",
        {**TEXT, "num_layers": 1, "num_kv_heads": 1},
        {"method": "prefill"},
        lambda model: (TOKENS, np.array([2, 3]), model.init_cache(2, 5)),
    ),
    "bart_read": ("bart_base", DECODED, {"method": "read"}, lambda model: (carry(), TOKENS)),
    "marian_read": ("marian", DECODED, {"method": "read"}, lambda model: (carry(), TOKENS)),
    "t5_read": (
        "t5_small",
        {"vocab_size": 9, "num_heads": 2, "width": 8, "head_features": 4, "mlp_features": 12, "decoder_layers": 1},
        {"method": "read"},
        lambda model: (carry(), TOKENS),
    ),
    "vit_gpt2_read": ("vit_gpt2", DECODED, {"method": "read"}, lambda model: (carry(), TOKENS)),
    "transformer": (
        Transformer,
        {"vocab_size": 9, "source_vocab_size": 7, "features": 8, "num_heads": 2, "hidden_features": 12}
        | {"encoder_layers": 1, "decoder_layers": 1, "attention_dropout_rate": 0.2, "pre_norm": True},
        True,
        lambda model: (TOKENS, TOKENS),
    ),
    "vjepa2_predictor": (
        TubePredictor,
        {"depth": 1, "width": 12, "num_heads": 1, "mlp_features": 8, "mask_tokens": 3},
        {"grid": (2, 1, 4), "kind": 5},
        lambda model: (np.zeros((2, 8, 24)), np.ones((2, 8), bool), np.ones((2, 8), bool)),
    ),
    "preact_cifar": ("preact_resnet110_cifar", {"stages": (1, 2), "width": 4}, True),
    "plain_cifar": ("plain20_cifar", {"stages": (1, 2), "width": 4}, True),
    "resnet_stem_cifar": ("resnet18", {"stem": "cifar", "stages": (1,), "width": 4}, False),
    "resnet_v2_train": ("resnetv2_50", {"stages": (1, 2), "width": 4}, True),
    "nf_resnet_cifar": ("nf_resnet50", {"stem": "cifar", "stages": (1, 2), "width": 8}, True),
    "regnet_y": (
        "regnet_y_400mf",
        {"depth": 3, "width": 8, "slope": 8.0, "step": 2.0, "group_width": 4, "stem_width": 8},
        True,
    ),
    "alexnet_towers": ("alexnet", {"towers": 2, "hidden": 8}, True),
    "mobilenet_v1_cifar": ("mobilenetv1_100", {"stem": "cifar", "settings": ((64, 1, 1), (128, 1, 2))}, False),
    "dinov3_7b": ("dinov3_vit7b16", VIT, False),
    "mae_table": ("mae_vit_b_16", {**MASKED, "decoder_depth": 0, "table_size": 224}, {"method": "encode"}),
}


def program(label):
    name, fields, options, *build = CASES[label]
    if isinstance(options, bool):
        options = {"train": True} if options else {}
    model = create_model(name, **fields) if isinstance(name, str) else name(**fields)
    inputs = build[0](model) if build else example_inputs(name, fields)
    if options.get("method") == "encode":
        inputs = inputs[:1]
    return program_of(model, *inputs, **options)[0]


@pytest.mark.slow(only=["r3d"])
@pytest.mark.parametrize("label", CASES)
def test_the_program_has_the_digest_of_the_one_whose_outputs_were_compared(label):
    assert_digest("small_programs.json", label, program(label))


if __name__ == "__main__":
    print(*map(program, sys.argv[1:]), sep="\n")
