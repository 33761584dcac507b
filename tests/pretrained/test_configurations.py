"""What is read of configurations, by hand: fields of networks, classes and processors; and what is refused."""

import json

import chex
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.models import create_model
from dlcore.pretrained.door import is_published, read_about
from dlcore.pretrained.family import Family, all_families, find_family
from dlcore.pretrained.network import Pretrained
from dlcore.pretrained.packing import PatchProcessor
from dlcore.pretrained.processor import Processor

LABELS = {"id2label": {"0": "cat", "1": "dog", "2": "owl"}}
VIT = {"image_size": 20, "patch_size": 5, "num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 2}
VIT |= {"intermediate_size": 40, "layer_norm_eps": 1e-7}
VIT_FIELDS = {"image_size": 20, "patch_size": 5, "depth": 3, "width": 24, "num_heads": 2, "mlp_features": 40}
OWN = VIT_FIELDS | {"num_classes": 3, "epsilon": 1e-7}
WITHOUT_EPS = {key: value for key, value in VIT.items() if key != "layer_norm_eps"}
STAGES = {"depths": [1, 2], "hidden_sizes": [8, 16]}
CONVNEXT_FIELDS = {"num_classes": 3, "stages": (1, 2), "widths": (8, 16), "patch_size": 2}
SWIN = {**STAGES, "embed_dim": 6, "num_heads": [1, 3], "patch_size": 2, "window_size": 5, "mlp_ratio": 2.5}
SWIN_FIELDS = {"num_classes": 3, "stages": (1, 2), "width": 6, "num_heads": (1, 3), "patch_size": 2}
SWIN_FIELDS |= {"window_size": 5, "mlp_ratio": 2.5}
CLIP_TOWER = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2}
CLIP_TOWER |= {"hidden_act": "gelu", "layer_norm_eps": 1e-7}
CLIP = {
    "vision_config": {**CLIP_TOWER, "image_size": 20, "patch_size": 6},
    "text_config": CLIP_TOWER
    | {"vocab_size": 50, "max_position_embeddings": 9, "hidden_size": 16, "intermediate_size": 30}
    | {"num_hidden_layers": 4, "num_attention_heads": 4, "eos_token_id": 2},
    "projection_dim": 11,
}
TOWERS = {"vocab_size": 50, "window": 9, "image_size": 20, "patch_size": 6, "vision_depth": 3, "vision_width": 24}
TOWERS |= {"vision_heads": 2, "text_depth": 4, "text_width": 16, "text_heads": 4, "mlp_features": 40}
TOWERS |= {"text_mlp_features": 30, "activation": "gelu", "epsilon": 1e-7}
SIGLIP2_TOWERS = {f"{part}_{what}": n for part in ("vision", "text") for what, n in (("depth", 12), ("width", 768))}
SIGLIP2_TOWERS |= {"vision_heads": 12, "text_heads": 12, "mlp_features": 3072, "text_mlp_features": 3072}
DINO = {**VIT, "mlp_ratio": 2.5}
CLIP_TEXT = {**CLIP_TOWER, "vocab_size": 50, "max_position_embeddings": 9, "eos_token_id": 7}
CLIP_TEXT_FIELDS = {"vocab_size": 50, "window": 9, "end_token": 7, "text_depth": 3, "text_width": 24, "text_heads": 2}
CLIP_TEXT_FIELDS |= {"text_mlp_features": 40, "embedding_size": 512, "activation": "gelu", "epsilon": 1e-7}
T5 = {"vocab_size": 50, "num_layers": 3, "num_heads": 2, "d_model": 24, "d_kv": 5, "d_ff": 40}
T5_FIELDS = {"vocab_size": 50, "encoder_layers": 3, "num_heads": 2, "width": 24, "head_features": 5, "mlp_features": 40}
TEXT = {"vocab_size": 50, "max_position_embeddings": 9, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT |= {"hidden_size": 24, "intermediate_size": 40}
TEXT_FIELDS = {"vocab_size": 50, "window": 9, "num_layers": 3, "num_heads": 4, "width": 24, "mlp_features": 40}
LLAMA = TEXT_FIELDS | {"num_kv_heads": 4, "head_features": None, "period": 10_000.0, "tied": False, "epsilon": 1e-4}
MIT_FIELDS = {"stages": (2, 2, 2, 2), "widths": (32, 64, 160, 256), "num_heads": (1, 2, 5, 8)}
MIT_FIELDS |= {"reductions": (8, 4, 2, 1), "mlp_ratios": (4, 4, 4, 4), "dropout": 0.0, "attention_dropout": 0.0}
VITDET_FIELDS = {"num_classes": 0, "image_size": 224, "pretrain_size": 224, "patch_size": 16, "depth": 12, "width": 768}
VITDET_FIELDS |= {"num_heads": 12, "mlp_features": 3072, "window_size": 0, "residual_blocks": ()}
VITDET_FIELDS |= {"relative_positions": False, "drop_path": 0.0}
CLIPS = {"num_frames": 4, "image_size": 20, "num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 2}
CLIPS |= {"intermediate_size": 40}
CLIPS_FIELDS = {"frames": 4, "image_size": 20, "depth": 3, "width": 24, "num_heads": 2, "mlp_features": 40}
PVT = {"depths": [1, 2], "hidden_sizes": [8, 16], "num_attention_heads": [1, 2], "sr_ratios": [4, 2]}
PVT |= {"mlp_ratios": [3, 5]}
PVT_FIELDS = {"stages": (1, 2), "widths": (8, 16), "num_heads": (1, 2), "reductions": (4, 2), "mlp_ratios": (3, 5)}
MOBILEVIT = {"neck_hidden_sizes": [4, 8], "hidden_sizes": [6, 9], "num_attention_heads": 3, "mlp_ratio": 2.0}
MOBILEVIT_FIELDS = {"num_classes": 0, "widths": (4, 8), "hidden_sizes": (6, 9), "num_heads": 3, "mlp_ratio": 2.0}

DINO_V2 = {"crop_rest": False, "pool": "token", "class_token": True, "pools_all": False, "pre_norm": False}
DINO_V2 |= {"last_norm": "tokens", "activation": "gelu", "swiglu": False, "qkv_bias": "qkv", "layer_scale": 1e-5}
DINO_V2 |= {"mlp_norm": False, "attention_norm": False, "branch_norm": False, "epsilon": 1e-6}
"""What timm's DINOv2 has beside its sizes."""
TRANSFORMERS = [
    ("ViTForImageClassification", {**VIT, **LABELS}, "vit_b_16", OWN),
    ("ViTForImageClassification", VIT, "vit_b_16", {**OWN, "num_classes": 0}),
    ("ViTModel", {**VIT, **LABELS}, "vit_b_16", {**OWN, "num_classes": 0}),
    ("DeiTForImageClassificationWithTeacher", {**VIT, **LABELS}, "deit_base_distilled_patch16_224", OWN),
    (
        "BeitForImageClassification",
        {**VIT, **LABELS, "use_relative_position_bias": True, "use_mean_pooling": True},
        "beit_base_patch16_224",
        OWN,
    ),
    ("IJepaModel", {**WITHOUT_EPS, **LABELS}, "ijepa_vith14_1k", {**OWN, "num_classes": 0, "epsilon": 1e-12}),
    ("IJepaForImageClassification", {**WITHOUT_EPS, **LABELS}, "ijepa_vith14_1k", {**OWN, "epsilon": 1e-12}),
    ("IJepaForImageClassification", {**VIT, **LABELS}, "ijepa_vith14_1k", OWN),
    (
        "Aimv2VisionModel",
        WITHOUT_EPS,
        "aimv2_large_patch14_224",
        {**OWN, "num_classes": 0, "epsilon": 1e-5, "pool": "attention"},
    ),
    (
        "Aimv2VisionModel",
        {**WITHOUT_EPS, "rms_norm_eps": 1e-4, "use_head": False},
        "aimv2_large_patch14_224",
        {**OWN, "num_classes": 0, "epsilon": 1e-4, "pool": "mean"},
    ),
    ("ConvNextForImageClassification", {**STAGES, **LABELS, "patch_size": 2}, "convnext_tiny", CONVNEXT_FIELDS),
    ("ConvNextV2ForImageClassification", {**STAGES, **LABELS, "patch_size": 2}, "convnextv2_tiny", CONVNEXT_FIELDS),
    # 24 · 2.5 = 60 units; of the int(24 · 2.6) = 62 of a gated MLP two thirds, 41, and up to a multiple of 8
    (
        "Dinov2Model",
        DINO,
        "dinov2_base",
        {
            **OWN,
            "num_classes": 0,
            "mlp_features": 60,
            "swiglu": False,
            "num_registers": 0,
            "antialias_positions": False,
        },
    ),
    (
        "Dinov2WithRegistersForImageClassification",
        {**DINO, **LABELS, "use_swiglu_ffn": True, "num_register_tokens": 4, "mlp_ratio": 2.6},
        "dinov2_base",
        {
            **OWN,
            "mlp_features": 48,
            "swiglu": True,
            "num_registers": 4,
            "antialias_positions": True,
            "pool": "token_mean",
        },
    ),
    (
        "Dinov2Model",  # two thirds of 60 are 40, a multiple of 8 already
        {**DINO, "use_swiglu_ffn": True},
        "dinov2_base",
        {**OWN, "num_classes": 0, "mlp_features": 40, "swiglu": True, "num_registers": 0, "antialias_positions": False},
    ),
    (
        "DINOv3ViTModel",
        {**VIT, "use_gated_mlp": True, "num_register_tokens": 4, "query_bias": False},
        "dinov3_vitb16",
        {**OWN, "num_classes": 0, "swiglu": True, "num_registers": 4, "qkv_bias": False},
    ),
    ("DINOv3ConvNextModel", STAGES, "dinov3_convnext_tiny", {"num_classes": 0, "stages": (1, 2), "widths": (8, 16)}),
    ("SwinForImageClassification", {**SWIN, **LABELS}, "swin_t", SWIN_FIELDS),
    ("Swinv2ForImageClassification", {**SWIN, **LABELS}, "swin_v2_t", {**SWIN_FIELDS, "windows": (5, 5)}),
    (
        "Swinv2ForImageClassification",
        {**SWIN, **LABELS, "pretrained_window_sizes": [0, 0, 0, 4]},  # those of two stages are 0
        "swin_v2_t",
        {**SWIN_FIELDS, "windows": (5, 5)},
    ),
    (
        "Swinv2ForImageClassification",
        {**SWIN, **LABELS, "pretrained_window_sizes": [6, 4, 4, 4]},
        "swin_v2_t",
        {**SWIN_FIELDS, "pretrained_window": (6, 4), "windows": (5, 5)},
    ),
    (
        "ResNetForImageClassification",
        {**STAGES, **LABELS, "layer_type": "bottleneck", "embedding_size": 5},
        "resnet50",
        {"num_classes": 3, "stages": (1, 2), "stem_width": 5, "widths": (2, 4)},
    ),
    (
        "ResNetForImageClassification",
        {**STAGES, "layer_type": "basic", "embedding_size": 5},
        "resnet18",
        {"num_classes": 0, "stages": (1, 2), "stem_width": 5, "widths": (8, 16)},
    ),
    (
        "ViTMAEModel",
        {**VIT, "mask_ratio": 0.6},
        "mae_vit_b_16",
        {key: value for key, value in VIT_FIELDS.items() if key != "image_size"}
        | {"mask_ratio": 0.6, "epsilon": 1e-7, "decoder_depth": 0, "table_size": 20},
    ),
    # an end token of 2 is that of files of 2023
    ("CLIPModel", CLIP, "clip_vit_b_32", {**TOWERS, "embedding_size": 11, "end_token": 49407}),
    (
        "CLIPModel",
        {**CLIP, "text_config": {**CLIP["text_config"], "eos_token_id": 7}},
        "clip_vit_b_32",
        {**TOWERS, "embedding_size": 11, "end_token": 7},
    ),
    # 20 pixels in patches of 6 leave 2
    ("SiglipModel", CLIP, "siglip_base_patch16_224", {**TOWERS, "end_token": 1, "crop_rest": True}),
    (
        "SiglipModel",
        {**CLIP, "vision_config": {**CLIP["vision_config"], "patch_size": 5}},
        "siglip_base_patch16_224",
        {**TOWERS, "patch_size": 5, "end_token": 1, "crop_rest": False},
    ),
    # 256 patches are 16 x 16 of 16 pixels
    (
        "Siglip2Model",
        {},
        "siglip2_base_patch16_naflex",
        {**SIGLIP2_TOWERS, "vocab_size": 32000, "window": 64, "image_size": 256, "patch_size": 16, "end_token": 1}
        | {"activation": "gelu_pytorch_tanh", "epsilon": 1e-6},
    ),
    (
        "Siglip2Model",
        {"vision_config": {"num_patches": 64, "patch_size": 4}, "text_config": {"vocab_size": 50}},
        "siglip2_base_patch16_naflex",
        {**SIGLIP2_TOWERS, "vocab_size": 50, "window": 64, "image_size": 32, "patch_size": 4, "end_token": 1}
        | {"activation": "gelu_pytorch_tanh", "epsilon": 1e-6},
    ),
    ("CLIPTextModel", CLIP_TEXT, "clip_vit_b_32", CLIP_TEXT_FIELDS),
    (
        "CLIPTextModelWithProjection",
        {**CLIP_TEXT, "eos_token_id": 2, "projection_dim": 11},
        "clip_vit_b_32",
        {**CLIP_TEXT_FIELDS, "end_token": 49, "embedding_size": 11},
    ),
    (
        "T5EncoderModel",
        T5,
        "t5_small",
        T5_FIELDS | {"gated": False, "num_buckets": 32, "max_distance": 128, "pad_token": 0, "epsilon": 1e-6},
    ),
    (
        "T5EncoderModel",
        T5
        | {
            "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 20,
        }
        | {"pad_token_id": 3, "layer_norm_epsilon": 1e-5, "tie_encoder_decoder": False},
        "t5_small",
        T5_FIELDS | {"gated": True, "num_buckets": 8, "max_distance": 20, "pad_token": 3, "epsilon": 1e-5},
    ),
    (
        "BertModel",
        {**TEXT, "type_vocab_size": 3, "layer_norm_eps": 1e-7, "hidden_act": "relu"},
        "bert_base",
        TEXT_FIELDS | {"num_segments": 3, "epsilon": 1e-7, "hidden_act": "relu", "head": "pooled"},
    ),
    (
        "GPT2LMHeadModel",
        {"vocab_size": 50, "n_positions": 9, "n_layer": 3, "n_head": 4, "n_embd": 24, "layer_norm_epsilon": 1e-4}
        | {"n_inner": 96},
        "gpt2",
        {"vocab_size": 50, "window": 9, "num_layers": 3, "num_heads": 4, "width": 24, "epsilon": 1e-4},
    ),
    ("LlamaForCausalLM", {**TEXT, "rms_norm_eps": 1e-4}, "llama2_7b", LLAMA),
    (
        "LlamaForCausalLM",
        {**TEXT, "rms_norm_eps": 1e-4, "num_key_value_heads": 2, "head_dim": 7, "rope_theta": 500.0}
        | {"tie_word_embeddings": True},
        "llama2_7b",
        LLAMA | {"num_kv_heads": 2, "head_features": 7, "period": 500.0, "tied": True},
    ),
    (
        "Qwen3ForCausalLM",
        {**TEXT, "rms_norm_eps": 1e-4, "rope_theta": 500.0}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 900.0}},
        "qwen3_0_6b",
        LLAMA | {"period": 900.0, "qk_norm": True, "num_kv_heads": 32, "head_features": 128},
    ),
    ("SegformerModel", LABELS, "mit_b0", MIT_FIELDS | {"drop_path": 0.1, "num_classes": 0}),
    (
        "SegformerForImageClassification",
        {**PVT, **LABELS, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "drop_path_rate": 0.4},
        "mit_b0",
        PVT_FIELDS | {"dropout": 0.2, "attention_dropout": 0.3, "drop_path": 0.4, "num_classes": 3},
    ),
    ("PvtV2Model", {**PVT, **LABELS}, "pvt_v2_b0", PVT_FIELDS | {"num_classes": 0, "linear": False, "drop_path": 0.0}),
    (
        "PvtV2ForImageClassification",
        {**PVT, **LABELS, "linear_attention": True, "drop_path_rate": 0.4},
        "pvt_v2_b0",
        PVT_FIELDS | {"num_classes": 3, "linear": True, "drop_path": 0.4},
    ),
    (
        "MobileViTModel",
        MOBILEVIT,
        "mobilevit_s",
        MOBILEVIT_FIELDS | {"expansion": 4, "patch_size": 2, "output_stride": 32},
    ),
    (
        "MobileViTModel",
        {**MOBILEVIT, "expand_ratio": 3.0, "patch_size": 5},
        "mobilevit_s",
        MOBILEVIT_FIELDS | {"expansion": 3, "patch_size": 5, "output_stride": 32},
    ),
    ("VitDetModel", {}, "vitdet_b", VITDET_FIELDS | {"global_blocks": tuple(range(12))}),
    # a window of 0 stands for attention everywhere; 10 · 2.5 = 25
    (
        "VitDetBackbone",
        {"num_hidden_layers": 3, "window_block_indices": [0, 2]},
        "vitdet_b",
        VITDET_FIELDS | {"depth": 3, "global_blocks": (0, 1, 2)},
    ),
    (
        "VitDetBackbone",
        {"num_hidden_layers": 3, "window_block_indices": [0, 2], "window_size": 4, "hidden_size": 10, "mlp_ratio": 2.5}
        | {"image_size": 32, "pretrain_image_size": 48, "patch_size": 8, "num_attention_heads": 5}
        | {"residual_block_indices": [1], "use_relative_position_embeddings": True, "drop_path_rate": 0.2},
        "vitdet_b",
        {"num_classes": 0, "image_size": 32, "pretrain_size": 48, "patch_size": 8, "depth": 3, "width": 10}
        | {"num_heads": 5, "mlp_features": 25, "window_size": 4, "global_blocks": (1,), "residual_blocks": (1,)}
        | {"relative_positions": True, "drop_path": 0.2},
    ),
    (
        "TimesformerForVideoClassification",
        {**CLIPS, **LABELS, "patch_size": 5},
        "timesformer_base",
        CLIPS_FIELDS | {"num_classes": 3, "patch_size": 5, "drop_path": 0.0},
    ),
    (
        "TimesformerModel",
        {**CLIPS, **LABELS, "patch_size": 5, "drop_path_rate": 0.2},
        "timesformer_base",
        CLIPS_FIELDS | {"num_classes": 0, "patch_size": 5, "drop_path": 0.2},
    ),
    (
        "VivitModel",
        {**CLIPS, "tubelet_size": [2, 4, 5]},
        "vivit_b_16x2",
        CLIPS_FIELDS | {"num_classes": 0, "tubelet": (2, 4, 5), "pooler": True},
    ),
    (
        "VivitForVideoClassification",
        {**CLIPS, **LABELS, "tubelet_size": [2, 4, 5]},
        "vivit_b_16x2",
        CLIPS_FIELDS | {"num_classes": 3, "tubelet": (2, 4, 5), "pooler": False},
    ),
]


@pytest.mark.parametrize(("architecture", "config", "name", "fields"), TRANSFORMERS)
def test_configurations_of_transformers_give_these_fields(architecture, config, name, fields):
    content = {"architectures": [architecture], **config}
    assert find_family(content).model(content) == (name, fields)


def timm_vit(classes, size, patch, depth, width, heads, hidden):
    return {"num_classes": classes, "image_size": size, "patch_size": patch, "depth": depth, "width": width} | {
        "num_heads": heads,
        "mlp_features": hidden,
    }


EPSILON = {False: {"epsilon": 1e-5}, True: {"epsilon": 1e-3, "padding": "same"}}


@pytest.mark.parametrize(
    ("config", "name", "fields"),
    [
        # the name says width, blocks, heads and patch; four times the width in the MLP
        ({"architecture": "vit_tiny_patch16_224"}, "vit_b_16", timm_vit(1000, 224, 16, 12, 192, 3, 768)),
        ({"architecture": "vit_small_patch32_224"}, "vit_b_16", timm_vit(1000, 224, 32, 12, 384, 6, 1536)),
        ({"architecture": "vit_base_patch16_224"}, "vit_b_16", timm_vit(1000, 224, 16, 12, 768, 12, 3072)),
        ({"architecture": "vit_large_patch16_224"}, "vit_b_16", timm_vit(1000, 224, 16, 24, 1024, 16, 4096)),
        (
            {"architecture": "vit_tiny_patch16_384", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 384, 384]}},
            "vit_b_16",
            timm_vit(3, 384, 16, 12, 192, 3, 768),
        ),
        (
            {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"input_size": [3, 384, 384]}}
            | {
                "model_args": {
                    "img_size": 20,
                    "patch_size": 5,
                    "depth": 3,
                    "embed_dim": 24,
                    "num_heads": 2,
                    "mlp_ratio": 2,
                }
            },
            "vit_b_16",
            timm_vit(1000, 20, 5, 3, 24, 2, 48),
        ),
        (
            {"architecture": "deit_tiny_distilled_patch16_224"},
            "deit_base_distilled_patch16_224",
            timm_vit(1000, 224, 16, 12, 192, 3, 768),
        ),
        (
            {"architecture": "deit_small_patch16_224"},
            "deit_base_patch16_224",
            timm_vit(1000, 224, 16, 12, 384, 6, 1536),
        ),
        (
            {"architecture": "vit_small_patch14_reg4_dinov2", "num_classes": 0},
            "vit_base_patch16_clip_224",
            {**timm_vit(0, 224, 14, 12, 384, 6, 1536), **DINO_V2, "num_registers": 4, "positions": "patches"},
        ),
        (
            {"architecture": "vit_small_patch14_dinov2", "num_classes": 0},
            "vit_base_patch16_clip_224",
            {**timm_vit(0, 224, 14, 12, 384, 6, 1536), **DINO_V2, "num_registers": 0, "positions": "all"},
        ),
        # int(192 · 8 / 3) = 512, int(768 · 2.5) = 1920
        (
            {"architecture": "eva02_tiny_patch14_224"},
            "eva02_tiny_patch14_224",
            timm_vit(1000, 224, 14, 12, 192, 3, 512) | {"mlp_norm": False},
        ),
        (
            {"architecture": "eva02_base_patch14_224", "model_args": {"mlp_ratio": 2.5}},
            "eva02_tiny_patch14_224",
            timm_vit(1000, 224, 14, 12, 768, 12, 1920) | {"mlp_norm": True},
        ),
        (
            {"architecture": "beitv2_base_patch16_224", "num_classes": 3, "model_args": {"depth": 5, "mlp_ratio": 3}},
            "beit_base_patch16_224",
            timm_vit(3, 224, 16, 5, 768, 12, 2304),
        ),
        ({"architecture": "resnet18"}, "resnet18", {"num_classes": 1000}),
        (
            {"architecture": "resnet50", "num_classes": 3, "model_args": {"layers": [1, 2], "channels": [8, 16]}},
            "resnet50",
            {"num_classes": 3, "stages": (1, 2), "widths": (8, 16), "stem_width": 64},
        ),
        ({"architecture": "convnext_tiny"}, "convnext_tiny", {"num_classes": 1000}),
        (
            {"architecture": "convnextv2_atto", "num_classes": 3, "model_args": {"depths": [1, 2], "dims": [8, 16]}},
            "convnextv2_atto",
            {"num_classes": 3, "stages": (1, 2), "widths": (8, 16)},
        ),
        ({"architecture": "mixer_b16_224", "model_args": {"num_classes": 5}}, "mixer_b16_224", {"num_classes": 5}),
        ({"architecture": "mixer_b16_224"}, "mixer_b16_224", {"num_classes": 1000}),
        ({"architecture": "efficientnet_b0"}, "efficientnet_b0", {"num_classes": 1000, **EPSILON[False]}),
        ({"architecture": "tf_efficientnet_b7"}, "efficientnet_b7", {"num_classes": 1000, **EPSILON[True]}),
        ({"architecture": "efficientnetv2_s"}, "efficientnet_v2_s", {"num_classes": 1000, **EPSILON[False]}),
    ],
)
def test_configurations_of_timm_give_these_fields(config, name, fields):
    assert find_family(config).model(config) == (name, fields)


def test_a_configuration_of_openclip_gives_these_fields():
    """128 features are two heads of 64; three times 128 are 384 units; the end token is the last."""
    vision = {"layers": 3, "width": 128, "image_size": 20, "patch_size": 5}
    text = {"vocab_size": 50, "context_length": 9, "layers": 4, "width": 16, "heads": 2}
    fields = {"vocab_size": 50, "window": 9, "end_token": 49, "image_size": 20, "patch_size": 5, "embedding_size": 11}
    fields |= {"vision_depth": 3, "vision_width": 128, "text_depth": 4, "text_width": 16, "text_heads": 2}
    for more, quick, expected in (
        ({}, {}, {"vision_heads": 2, "mlp_features": 512, "activation": "gelu"}),
        ({"head_width": 32, "mlp_ratio": 3}, {"quick_gelu": True}, {"vision_heads": 4, "mlp_features": 384}),
    ):
        config = {"model_cfg": {"embed_dim": 11, "vision_cfg": {**vision, **more}, "text_cfg": text, **quick}}
        want = {**fields, "text_mlp_features": 64, "activation": "quick_gelu", **expected}
        assert find_family(config).model(config) == ("clip_vit_b_32", want)
    config["model_cfg"]["vision_cfg"]["layers"] = [1, 2]
    with pytest.raises(ValueError, match=r"model_cfg: its image tower is no ViT of OpenCLIP; allowed: vision_cfg with"):
        find_family(config).model(config)


TASKS = {
    **{"ObjectDetection": "detection", "PoseEstimation": "detection", "DepthEstimation": "depth"},
    **{"KeypointDetection": "detection", "KeypointMatching": "detection", "ImageSuperResolution": "generative"},
    **dict.fromkeys(
        ("Segmentation", "SemanticSegmentation", "InstanceSegmentation", "UniversalSegmentation"), "segmentation"
    ),
    **{"MaskedImageModeling": "encoder", "VideoClassification": "video"},
}
"""{end of a class's name: kind of its network}."""


def test_a_family_is_for_the_task_that_its_architectures_name_and_reads_its_librarys_inputs():
    for family in all_families():
        for name in family.architectures:
            task = name.rpartition("For")[2]
            if not name.startswith("PPOCR"):  # their "detection" is a map of text
                assert family.kind == TASKS.get(task, family.kind), name
            firsts = {"timm": ("x",), "transformers": ("pixel_values", "pixel_values_videos", "input_ids")}
            if family.library in firsts:
                assert family.inputs[0].split("|")[0] in firsts[family.library], name
    inputs = {family.architectures[0]: family.inputs for family in all_families()}
    assert inputs["BertModel"] == inputs["BertForMaskedLM"] == ("input_ids", "attention_mask", "token_type_ids")
    assert inputs["CLIPModel"] == inputs["CLIP"] == ("pixel_values", "input_ids", "attention_mask")
    assert inputs["Siglip2Model"][1:3] == ("pixel_attention_mask", "spatial_shapes")
    assert inputs["T5EncoderModel"] == ("input_ids", "attention_mask")
    assert inputs["ViTMAEModel"] == ("pixel_values", "noise")


@pytest.mark.parametrize(
    ("architecture", "config", "message"),
    [
        ("ResNetForImageClassification", {"downsample_in_bottleneck": True}, "not in dlcore's; allowed: false"),
        ("ResNetForImageClassification", {"downsample_in_first_stage": True}, "not in dlcore's; allowed: false"),
        ("GPT2LMHeadModel", {"n_inner": 95, "n_embd": 24}, "n_inner=95: another perceptron; allowed: 4 times n_embd"),
        ("LlamaForCausalLM", {"rope_scaling": {"rope_type": "yarn"}}, "rope_type='yarn': not in dlcore's Llama"),
        ("LlamaForCausalLM", {"attention_bias": True}, "attention_bias, mlp_bias: not in dlcore's Llama"),
        ("LlamaForCausalLM", {"mlp_bias": True}, "attention_bias, mlp_bias: not in dlcore's Llama"),
        ("Gemma2ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True: not in dlcore"),
        ("DINOv3ViTModel", {"rope_theta": 10.0}, "rope_theta, key_bias: not in dlcore's DINOv3"),
        ("DINOv3ViTModel", {"key_bias": True}, "rope_theta, key_bias: not in dlcore's DINOv3"),
        (
            "BeitForImageClassification",
            {"use_shared_relative_position_bias": True},
            "dlcore's BEiT; allowed: False",
        ),
        ("T5EncoderModel", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj='gated-silu': not in dlcore's T5"),
        ("T5EncoderModel", {"tie_encoder_decoder": True}, "tie_encoder_decoder=True: not in dlcore's T5"),
        ("VitDetModel", {"qkv_bias": False}, "qkv_bias=False: not in dlcore; allowed: True"),
        ("VivitModel", {"hidden_act": "gelu"}, "hidden_act='gelu': not in dlcore's ViViT; allowed: 'gelu_fast'"),
        ("TimesformerModel", {"attention_type": "joint"}, "attention_type='joint': not in dlcore's TimeSformer"),
        ("SegformerModel", {"strides": (4, 2, 2, 1)}, r"strides=\(4, 2, 2, 1\): not in dlcore's network"),
        ("HGNetV2ForImageClassification", {"hidden_act": "gelu"}, "hidden_act='gelu': not in .*; allowed: 'relu'"),
        ("HGNetV2ForImageClassification", {"num_channels": 1}, "num_channels=1: not in .*; allowed: 3"),
    ],
)
def test_fields_that_a_network_lacks_are_refused(architecture, config, message):
    content = {"architectures": [architecture], **config}
    with pytest.raises(ValueError, match=message):
        find_family(content).model(content)


def test_a_flag_names_published_weights_by_its_prefix_or_by_a_folder_of_theirs(tmp_path):
    assert is_published("hf:facebook/dinov2-base")
    assert not is_published(tmp_path)
    contents = {"{": False, "[]": False, '{"model_type": "vit"}': False}
    contents |= {f'{{"{key}": 1}}': True for key in ("architectures", "architecture", "_class_name", "model_cfg")}
    contents['{"architectures": 1, "experiment": 2}'] = False  # the folder of a run
    for content, expected in contents.items():
        (tmp_path / "config.json").write_text(content)
        assert is_published(tmp_path) == expected


TIMM_VIT = {"architecture": "vit_tiny_patch16_224"}


@pytest.fixture
def about(tmp_path):
    """Read what a folder of this configuration and this processor says; it has no array."""
    save_file({}, tmp_path / "model.safetensors")

    def read(config, processor=None):
        for name, content in (("config.json", config), ("preprocessor_config.json", processor or {})):
            (tmp_path / name).write_text(json.dumps(content))
        return read_about(tmp_path)

    return read


def test_classes_are_in_the_order_of_their_numbers(about):
    vit = {"architectures": ["ViTForImageClassification"], **VIT}
    assert about({**vit, "id2label": {"10": "k", "9": "j"}, "label_names": ["x"]}).classes == ("j", "k")
    assert about({**TIMM_VIT, "label_names": ["b", "a"]}).classes == ("b", "a")
    assert about({**TIMM_VIT, "id2label": {}, "label_names": ["b", "a"]}).classes == ("b", "a")
    assert about(TIMM_VIT).classes is None


def test_the_processor_is_the_librarys(about):
    def of(config, processor):
        return about(config, processor).preprocess

    vit = {"architectures": ["ViTForImageClassification"], **VIT}
    assert of(vit, {}) is None
    siglip2 = {"image_processor_type": "Siglip2ImageProcessorFast", "patch_size": 4}
    assert of(vit, siglip2) == of(vit, {"image_processor": siglip2}) == PatchProcessor(patch_size=4)
    assert of(vit, {"image_processor_type": "Owlv2ImageProcessor"}) is None
    assert of(vit, {"size": 7, "do_normalize": False}) == Processor(size=(7, 7))
    published = {"input_size": [3, 7, 7], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.2] * 3}
    expected = Processor(shortest=7, crop=(7, 7), mean=(0.5,) * 3, std=(0.2,) * 3)
    assert of({**TIMM_VIT, "pretrained_cfg": published}, {}) == expected
    assert of(TIMM_VIT, {}) is None
    assert of({**vit, "pretrained_cfg": published}, {}) is None  # transformers reads another file


def reader(model, inputs, kind="image", preprocess=None):
    """A network that gives back what it reads."""
    family = Family("transformers", ("x",), dict, dict, inputs, kind, call=lambda run, arrays, _: arrays)
    return Pretrained("net", {}, model, None, family, {}, preprocess, None)


def test_masks_may_hide_what_stands_behind_the_end_of_a_text():
    """A text is read up to its first end token, 59, and may be that token alone."""
    clip = create_model("clip_vit_b_32", vocab_size=60, end_token=59)
    net = reader(clip, ("input_ids", "attention_mask"), "pairs")
    ids = np.array([[4, 59, 0], [59, 8, 59]])
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(net(input_ids=ids, attention_mask=mask)["attention_mask"], mask)
    assert net(input_ids=ids[1:, :1])["input_ids"].shape == (1, 1)
    for i, j in ((0, 1), (1, 0)):
        wrong = np.ones_like(mask)
        wrong[i, j] = 0
        with pytest.raises(ValueError, match="attention_mask: 0 at a token that the network reads"):
            net(input_ids=ids, attention_mask=wrong)
    with pytest.raises(ValueError, match=r"input_ids\[1\]: no end token; allowed: texts with a token 59"):
        net(input_ids=np.array([[59, 1], [2, 3], [4, 5]]))


def test_masks_of_photographs_and_the_first_timestep_are_read():
    photographs = [np.full((2, 5, 3), 255, np.uint8), np.zeros((4, 3), np.uint8)]
    net = reader(None, ("pixel_values|x", "pixel_mask", "timestep"), preprocess=Processor())
    found = net(photographs, timestep=0)
    assert found.keys() == {"pixel_values", "pixel_mask", "timestep"}
    chex.assert_shape(found["pixel_values"], (2, 4, 5, 3))
    np.testing.assert_array_equal(found["pixel_mask"].sum((1, 2)), [10, 12])
    inputs = {"x": np.zeros((1, 4, 5, 3), np.float32), "pixel_mask": np.ones((1, 4, 5), int)}
    np.testing.assert_array_equal(net(**inputs)["pixel_mask"], inputs["pixel_mask"])
    with pytest.raises(ValueError, match=r"pixel_mask=\[1, 5, 4\]: another shape; allowed: \[1, 4, 5\]"):
        net(**inputs | {"pixel_mask": np.ones((1, 5, 4), int)})
    with pytest.raises(ValueError, match=r"timestep.*: not finite"):
        net(**inputs, timestep=np.float32([np.nan]))


@pytest.mark.parametrize(
    ("config", "name", "shape", "expected"),
    [
        ({}, "x", (1, 3, 4, 5), (1, 4, 5, 3)),
        ({}, "x", (1, 4, 5, 3), (1, 4, 5, 3)),
        ({}, "x", (1, 3, 4, 3), (1, 3, 4, 3)),  # channels last where both may be
        ({}, "x", (1, 2, 3, 4, 5), (1, 2, 4, 5, 3)),  # frames before channels
        ({}, "x", (3, 4, 5), (3, 4, 5)),
        ({"num_channels": 2}, "x", (1, 2, 4, 5), (1, 4, 5, 2)),
        ({"num_channels": 2, "in_channels": 6}, "x", (1, 6, 4, 5), (1, 4, 5, 6)),
        ({"latent_channels": 4}, "z", (1, 4, 5, 6), (1, 5, 6, 4)),
        ({"latent_channels": 4}, "x", (1, 4, 5, 6), (1, 4, 5, 6)),
        ({}, "input_points", (1, 3, 4, 2), (1, 3, 4, 2)),
    ],
)
def test_arrays_have_channels_last_inside(config, name, shape, expected):
    family = Family("timm", ("x",), dict, dict, ("x|image", "z", "input_points"), call=lambda run, arrays, _: arrays)
    net = Pretrained("net", {}, None, None, family, config, None, None)
    key = "image" if name == "x" else name
    chex.assert_shape(net(**{key: np.zeros(shape, np.float32)})[name], expected)
    if name == "input_points" or len(shape) < 4:  # whole numbers are refused as images
        chex.assert_shape(net(**{key: np.zeros(shape, np.int32)})[name], shape)
