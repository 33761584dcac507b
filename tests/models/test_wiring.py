"""Numbers of whole networks that move with any axis, order or constant inside; see tests/wiring.py.

A regression: a number is of the code that equals the golden of the slow or weekly tier, where the network has one.
"""

import numpy as np
import pytest

from dlcore.models import create_model, efficientnet, mobilenet_v3, mobilenet_v4
from tests.wiring import assert_wiring

TOKENS, PAIRED = np.arange(10).reshape(2, 5) % 11, np.array([[3, 5, 19, 0], [2, 19, 0, 0]])
VIT = {"image_size": 16, "patch_size": 4, "depth": 1, "width": 12, "num_heads": 2, "mlp_features": 20, "num_classes": 3}
TEXT = {"vocab_size": 11, "num_heads": 2, "width": 8}
WINDOW, BOTH = {**TEXT, "window": 8}, {"encoder_layers": 1, "decoder_layers": 1, "mlp_features": 12}
READ = {"vocab_size": 20, "end_token": 19, "window": 6, "mlp_ratio": 2, "vision_heads": 2, "text_depth": 1}
READ |= {"text_width": 8, "text_heads": 2}
TOWERS = {**READ, "image_size": 16, "patch_size": 8, "vision_depth": 1, "vision_width": 8}
MODIFIED = {**READ, "image_size": 32, "vision_width": 4, "vision_stages": (1, 1), "embedding_size": 6}
BLOCK = {"frames": 4, "image_size": 16, "depth": 1, "width": 8, "num_heads": 2, "mlp_features": 12}
PYRAMID = {"stages": (1, 1), "widths": (8, 16), "num_heads": (1, 2), "reductions": (2, 1), "mlp_ratios": (2, 2)}
MAPS = {**VIT, "image_size": 24, "pretrain_size": 16, "depth": 2, "window_size": 4, "global_blocks": (1,)}
MAPS |= {"residual_blocks": (0,), "num_classes": 1000}
HIERA = {"image_size": 32, "stages": (1, 1, 1, 1), "width": 8, "num_heads": (1, 2, 2, 4), "mlp_ratio": 2.0}
REGULAR = {"depth": 3, "width": 8, "slope": 8.0, "step": 2.0, "group_width": 4, "stem_width": 8, "se_ratio": 0.25}
B0 = {"settings": efficientnet.B0[:2], "stem_width": 8, "last_channel": 16, "width_mult": 0.5}
V4 = {"settings": (mobilenet_v4.SMALL[0], mobilenet_v4.SMALL[2][:2]), "width_mult": 0.25}
XCEPTION = {"entry_widths": (8,), "middle_blocks": 1}
SMALL, LARGE, CLIP = (2, 16, 16, 3), (2, 32, 32, 3), (1, 4, 16, 16, 3)

CASES = {
    "aimv2_large_patch14_224": (VIT, SMALL, [1.94453, 0.584985]),
    "alexnet": ({"widths": (4, 4, 4, 4, 4), "hidden": 8}, (1, 63, 63, 3), [6.1175, -5.83828]),
    "all_cnn_c": ({"width": 4}, SMALL, [1.55813, -0.0133114]),
    "bart_base": ({**WINDOW, **BOTH}, TOKENS, TOKENS, [13.3891, -4.66478]),
    "beit_base_patch16_224": (VIT, SMALL, [4.19852, 1.37074]),
    "bert_base": ({**WINDOW, "num_layers": 1, "mlp_features": 12}, TOKENS, [14.9117, -4.79968]),
    "cait_xxs24_224": ({**VIT, "class_depth": 1}, SMALL, [5.2836, 0.872959]),
    "clip_vit_b_32": (TOWERS, SMALL, PAIRED, [2.60111, 1.62097]),
    "siglip_base_patch16_224": (TOWERS, SMALL, PAIRED, [2.60111, 1.07033]),
    "clip_resnet50": (MODIFIED, LARGE, PAIRED, [2.60111, 3.68846]),
    "convnext_tiny": ({"stages": (1, 1), "widths": (8, 12)}, LARGE, [3.98188, -0.333951]),
    "convnextv2_tiny": ({"stages": (1, 1), "widths": (8, 12)}, LARGE, [3.66554, -0.243518]),
    "deit_tiny_patch16_224": ({**VIT, "distilled": True}, SMALL, [4.87374, 0.175236]),
    "densenet121": ({"stages": (2, 1), "growth_rate": 4, "stem_width": 8}, LARGE, [10.2524, 0.565913]),
    "dinov2_small": (VIT, SMALL, [6.43664, 1.00529]),
    "dinov2_small giant": ({**VIT, "num_registers": 2, "swiglu": True}, SMALL, [5.04292, 1.97185]),
    "dinov3_vits16": ({**VIT, "width": 16, "swiglu": True}, SMALL, [4.43289, -0.696904]),
    "efficientnet_b0": (B0, LARGE, [2.97761, 0.233961]),
    "eva02_tiny_patch14_224": ({**VIT, "width": 16, "mlp_norm": True}, SMALL, [5.07306, -0.572155]),
    "fastvit_t8": ({"stages": (1,), "widths": (8,)}, SMALL, [90.405, -12.1237]),
    "googlenet": ({"modules": ("3a", "4a"), "width_mult": 0.125}, (1, 64, 64, 3), [2.67618, -0.251109]),
    "gpt2": ({**WINDOW, "num_layers": 1}, TOKENS, [16.939, 1.01484]),
    "hiera_tiny_224": (HIERA, LARGE, [1.35502, 0.305151]),
    "ijepa_vith14_1k": (VIT, SMALL, [3.47811, 0.271624]),
    "inception_v3": ({"modules": ("5b", "6a", "6b"), "width_mult": 0.125}, (1, 75, 75, 3), [5.08847, -1.04566]),
    "inception_v3 last": ({"modules": ("7a", "7b"), "width_mult": 0.125}, (1, 75, 75, 3), [6.99871, -2.5369]),
    "lenet5": ({}, (1, 32, 32, 1), [0.444872, 0.331738]),
    "llama2_7b": ({**WINDOW, "num_layers": 1, "num_kv_heads": 1, "mlp_features": 12}, TOKENS, [16.6154, 13.0739]),
    "maxvit_t": (
        {"stages": (1,), "widths": (8,), "stem_width": 8, "partition_size": 2, "head_features": 4},
        SMALL,
        [1.39901, 0.0328034],
    ),
    "mixer_s16_224": ({"patch_size": 4, "depth": 1, "width": 8}, SMALL, [2.65625, -0.259629]),
    "mnasnet0_5": ({"settings": ((3, 24, 3, 2, 2),)}, LARGE, [12.6789, 0.970985]),
    "mobilenetv1_100": ({"settings": ((8, 1, 1), (16, 1, 2)), "width_mult": 0.5}, LARGE, [1.08369, 0.101878]),
    "mobilenet_v2": ({"settings": ((1, 8, 1, 1), (6, 8, 2, 2))}, LARGE, [10.0906, 0.489959]),
    "mobilenet_v3_large": (
        {"settings": mobilenet_v3.LARGE[2:4], "width_mult": 0.5, "hidden": 16},
        LARGE,
        [8.12057, -0.497612],
    ),
    "mobilenetv4_conv_small": (V4, LARGE, [8.15704, 2.59457]),
    "mvit_v2_s": ({"frames": 4, "image_size": 16, "stages": (1,), "width": 4}, CLIP, [2.50539, 2.01482]),
    "nf_resnet50": ({"stages": (1, 1), "width": 4}, LARGE, [1.40883, 0.128286]),
    "nin_cifar": ({"stages": ((6, 4), (6, 4)), "kernel_sizes": (5, 3)}, SMALL, [3.77356, -0.583899]),
    "pvt_v2_b0": (PYRAMID, LARGE, [2.7074, -1.20707]),
    "pvt_v2_b0 linear": ({**PYRAMID, "linear": True}, (1, 64, 64, 3), [1.47913, 0.691287]),
    "regnet_x_400mf": (REGULAR, LARGE, [24.8008, 5.22925]),
    "repvgg_a0": ({"stages": (1, 2), "widths": (8, 12), "stem_width": 8}, LARGE, [42.5832, -1.08618]),
    "resnet50": ({"stages": (1, 1), "width": 4}, LARGE, [30.9916, 0.398474]),
    "resnet18": ({"stages": (1, 1), "width": 4}, LARGE, [10.618, 0.511625]),
    "resnet8_cifar": ({"stages": (1, 1), "width": 4}, SMALL, [10.0565, -1.39152]),
    "resnetv2_50": ({"stages": (1, 1), "width": 4}, LARGE, [9.20281, 1.1578]),
    "vit_small_patch16_rope_224": ({**VIT, "width": 16}, SMALL, [4.36632, -0.631495]),
    "vit_small_patch16_rope_224 mixed": ({**VIT, "width": 16, "frequencies": "mixed"}, SMALL, [5.08811, -0.0016291]),
    "shufflenet_v2_x0_5": (
        {"stages": (2,), "widths": (8,), "stem_width": 4, "last_channel": 16},
        LARGE,
        [2.34033, -0.399492],
    ),
    "squeezenet1_0": ({"stem_conv": (8, 7, 2), "stages": (((4, 8),),) * 2}, (1, 64, 64, 3), [0.342087, -0.142358]),
    "swin_t": (
        {"stages": (2, 1), "num_heads": (2, 2), "width": 8, "patch_size": 2, "window_size": 3},
        SMALL,
        [5.39988, -0.248833],
    ),
    "swin3d_t": (
        {"stages": (2,), "width": 4, "num_heads": (2,), "window_size": 2},
        (1, 4, 24, 24, 3),
        [2.60714, 0.0794229],
    ),
    "swin_v2_t": (
        {"stages": (2, 1), "num_heads": (2, 2), "width": 8, "patch_size": 2, "window_size": 4},
        SMALL,
        [2.81357, -0.4058],
    ),
    "t5_small": ({**TEXT, **BOTH, "head_features": 3}, TOKENS, TOKENS, [4.39064, 5.12258]),
    "vgg11": ({"stages": (1, 1), "width": 4, "hidden": 8}, SMALL, [7.45642, 0.843478]),
    "r3d_18": ({"width": 4}, CLIP, [13.9014, -11.89]),
    "timesformer_base": ({**BLOCK, "patch_size": 8}, CLIP, [3.31558, 0.393946]),
    "vivit_b_16x2": ({**BLOCK, "num_classes": 0, "tubelet": (2, 8, 8), "pooler": True}, CLIP, [2.25667, 0.304741]),
    "vit_gpt2": ({**WINDOW, **BOTH, "image_size": 8, "patch_size": 4}, (2, 8, 8, 3), TOKENS, [13.5733, 3.76883]),
    "vit_s_16": (VIT, SMALL, [6.49537, 1.49744]),
    "vitdet_b": (MAPS, (1, 24, 24, 3), [67.9207, -34.7106]),
    "legacy_xception": ({**XCEPTION, "stem_widths": (4, 8), "exit_widths": (12, 16, 16)}, LARGE, [493.408, 81.5178]),
    "xception41": ({**XCEPTION, "exit_widths": ((8, 12, 12), (12, 12, 16))}, LARGE, [165.754, 22.1362]),
    "zfnet": ({"widths": (4, 4, 4, 4, 4), "hidden": 8}, (1, 63, 63, 3), [1.12584, -0.79974]),
}


@pytest.mark.slow(
    unless=[
        *("all_cnn_c", "clip_resnet50", "dinov2_small", "lenet5", "mnasnet0_5", "nin_cifar", "regnet_x_400mf"),
        *("resnet50", "resnet8_cifar", "t5_small", "vgg11", "zfnet"),
    ]
)
@pytest.mark.parametrize("case", CASES)
def test_the_wiring_is_as_it_was(case):
    fields, *inputs, expected = CASES[case]
    three = {} if "vocab_size" in fields else {"num_classes": 3}
    assert_wiring(create_model(case.partition(" ")[0], **three | fields), *inputs, expected)
