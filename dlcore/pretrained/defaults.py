"""What transformers' classes take where a nested configuration leaves a value out.

Of a configuration within another, such as an image tower or a backbone, transformers writes the values alone that
differ from the defaults of its class: `google/siglip-base-patch16-224` says nothing of its towers but their types.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["fill_defaults"]

_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


_CLIP = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}


_SIGLIP = _BASE | {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}


_DINOV2 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4}


_DINOV2 |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 224, "use_swiglu_ffn": False}


_SWIN = {"image_size": 224, "patch_size": 4, "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}


_SWIN |= {"window_size": 7, "mlp_ratio": 4.0, "hidden_act": "gelu", "layer_norm_eps": 1e-5}


_RESNET = {"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}


_RESNET |= {"layer_type": "bottleneck", "hidden_act": "relu"}


_CONVNEXT = {"patch_size": 4, "hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3], "hidden_act": "gelu"}


_CONVNEXT |= {"layer_norm_eps": 1e-12}


_HGNET_V2 = {
    "hidden_act": "relu",
    "stem_channels": [3, 32, 48],
    "stage_in_channels": [48, 128, 512, 1024],
    "stage_mid_channels": [48, 96, 192, 384],
    "stage_out_channels": [128, 512, 1024, 2048],
    "stage_num_blocks": [1, 1, 3, 1],
    "stage_downsample": [False, True, True, True],
    "stage_light_block": [False, False, True, True],
    "stage_kernel_size": [3, 3, 5, 5],
    "stage_numb_of_layers": [6, 6, 6, 6],
    "use_learnable_affine_block": False,
}


_INTERNVL = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


_INTERNVL |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": [448, 448], "patch_size": [14, 14]}


_INTERNVL |= {"layer_scale_init_value": 0.1}


_PIXTRAL = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


_PIXTRAL |= {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "image_size": 1024, "patch_size": 16}


_IDEFICS3 = _SIGLIP | {"hidden_size": 1152, "num_attention_heads": 16, "image_size": 224, "patch_size": 32}


_CLIP_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}


_CLIP_TEXT |= {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407}


_BERT = {"hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2}


_ALT_TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}


_ALT_TEXT |= {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}


_ALT_TEXT |= {"project_dim": 768, "pad_token_id": 1}


_DETR = {"num_queries": 100, "d_model": 256, "decoder_layers": 6, "decoder_attention_heads": 8, "decoder_ffn_dim": 2048}


_VITPOSE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4, "num_experts": 1}


_VITPOSE |= {"image_size": [256, 192], "patch_size": [16, 16], "hidden_act": "gelu", "layer_norm_eps": 1e-12}


_VITPOSE |= {"part_features": 256}


def _decoder(vocab: int, width: int, mlp: int, depth: int, heads: int, kv_heads: int | None, positions: int) -> dict:
    """Return a language decoder's defaults."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = (vocab, width, mlp, depth, heads, kv_heads, positions)
    return dict(zip((*names, "num_key_value_heads", "max_position_embeddings"), sizes, strict=True))


_LLAMA = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False}


_GEMMA = {"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "head_dim": 256}


_GEMMA_2 = _GEMMA | {"query_pre_attn_scalar": 256, "sliding_window": 4096}


_COHERE = _decoder(256000, 8192, 22528, 40, 64, None, 8192) | {"hidden_act": "silu", "logit_scale": 0.0625}


_COHERE |= {"layer_norm_eps": 1e-5, "tie_word_embeddings": True}


_HIERA_DET = {"image_size": [1024, 1024], "blocks_per_stage": [1, 2, 7, 2], "embed_dim_per_stage": [96, 192, 384, 768]}


_HIERA_DET |= {"num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [8, 4, 14, 7], "mlp_ratio": 4.0}


_HIERA_DET |= {"global_attention_blocks": [5, 7, 9], "window_positional_embedding_background_size": [7, 7]}


_VIT = _BASE | {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "image_size": 224, "patch_size": 16}


_GPT2 = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}


_GPT2 |= {"layer_norm_epsilon": 1e-5}


_TROCR = {"vocab_size": 50265, "d_model": 1024, "decoder_layers": 12, "decoder_attention_heads": 16}


_TROCR |= {"decoder_ffn_dim": 4096, "activation_function": "gelu", "scale_embedding": False, "pad_token_id": 1}


_TROCR |= {"tie_word_embeddings": True}


_MBART = _TROCR | {"max_position_embeddings": 1024}


_TROCR |= {"max_position_embeddings": 512, "use_learned_position_embeddings": True, "layernorm_embedding": True}


_BLIP_TEXT = _BASE | {"vocab_size": 30524, "num_attention_heads": 8, "max_position_embeddings": 512}


_BLIP_TEXT |= {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "is_decoder": True}


_QWEN2_VL = _LLAMA | _decoder(152064, 8192, 29568, 80, 64, 8, 32768) | {"rms_norm_eps": 1e-5}


_QWEN2_VL |= {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 80}


_QWEN_VISION = {"depth": 32, "hidden_size": 3584, "num_heads": 16, "in_channels": 3, "patch_size": 14}


_QWEN_VISION |= {"spatial_merge_size": 2, "temporal_patch_size": 2}


_QWEN2_5_VISION = {"hidden_act": "silu", "intermediate_size": 3420, "window_size": 112, "out_hidden_size": 3584}


_QWEN2_5_VISION |= {"fullatt_block_indexes": [7, 15, 23, 31]}


_QWEN3_VISION = {"depth": 27, "hidden_size": 1152, "hidden_act": "gelu_pytorch_tanh", "intermediate_size": 4304}


_QWEN3_VISION |= {"patch_size": 16, "out_hidden_size": 3584, "num_position_embeddings": 2304}


_QWEN3_VISION |= {"deepstack_visual_indexes": [8, 16, 24]}


_DAVIT = {"depths": [1, 1, 9, 1], "embed_dim": [128, 256, 512, 1024], "patch_size": [7, 3, 3, 3]}


_DAVIT |= {"num_heads": [4, 8, 16, 32], "num_groups": [4, 8, 16, 32], "patch_stride": [4, 2, 2, 2]}


_DAVIT |= {"patch_padding": [3, 1, 1, 1], "patch_prenorm": [False, True, True, True], "window_size": 12}


_DAVIT |= {"mlp_ratio": 4.0, "qkv_bias": True, "projection_dim": 1024, "max_position_embeddings": 50}


_BART = {"vocab_size": 50265, "max_position_embeddings": 1024, "d_model": 1024, "activation_function": "gelu"}


_BART |= {f"{side}_layers": 12 for side in ("encoder", "decoder")} | {"pad_token_id": 1, "scale_embedding": False}


_BART |= {f"{side}_ffn_dim": 4096 for side in ("encoder", "decoder")}


_BART |= {f"{side}_attention_heads": 16 for side in ("encoder", "decoder")}


_GIT = _BASE | {"vocab_size": 30522, "num_hidden_layers": 6, "max_position_embeddings": 1024}


_GIT |= {"hidden_act": "gelu", "layer_norm_eps": 1e-12}


_WINDOWED = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4}


DEFAULTS: dict[str, dict[str, Any]] = {
    "clip_text_model": _CLIP | _CLIP_TEXT,
    "clip_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "metaclip_2_text_model": _CLIP | _CLIP_TEXT,
    "metaclip_2_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "clipseg_text_model": _CLIP | _CLIP_TEXT,
    "clipseg_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "chinese_clip_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "chinese_clip_text_model": _BASE | _BERT | {"layer_norm_eps": 1e-12, "vocab_size": 30522},
    "altclip_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "altclip_text_model": _BERT | _ALT_TEXT,
    "siglip_text_model": _SIGLIP | {"vocab_size": 32000, "max_position_embeddings": 64},
    "siglip_vision_model": _SIGLIP | {"image_size": 224, "patch_size": 16},
    **dict.fromkeys(("idefics3", "idefics3_vision", "smolvlm", "smolvlm_vision"), _IDEFICS3),
    "internvl_vision": _INTERNVL,
    "qianfan_ocr_vision": _INTERNVL,
    "pixtral": _PIXTRAL,
    "dinov2": _DINOV2 | {"patch_size": 14},
    "dinov2_with_registers": _DINOV2 | {"patch_size": 16, "num_register_tokens": 4},
    "swin": _SWIN,
    "maskformer-swin": _SWIN,
    "resnet": _RESNET,
    "rt_detr_resnet": _RESNET,
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "hgnet_v2": _HGNET_V2,
    "vitpose_backbone": _VITPOSE,
    "rf_detr_dinov2": _WINDOWED | {"image_size": 224, "patch_size": 14, "num_windows": 4, "use_swiglu_ffn": False},
    "lw_detr_vit": _WINDOWED | {"pretrain_image_size": 224, "patch_size": 16, "num_windows": 16},
    "detr": _DETR,
    "vit": _VIT | {"qkv_bias": True},
    "deit": _VIT | {"qkv_bias": True},
    "donut-swin": _SWIN,
    "gpt2": _GPT2,
    "trocr": _TROCR,
    "mbart": _MBART,
    "blip_vision_model": _VIT | {"image_size": 384, "layer_norm_eps": 1e-5},
    "blip_text_model": _BLIP_TEXT,
    "qwen2_vl_text": _QWEN2_VL,
    "qwen2_5_vl_text": _QWEN2_VL,
    "qwen3_vl_text": _LLAMA | _decoder(151936, 4096, 22016, 32, 32, 32, 128000) | {"head_dim": 128},
    "qwen2_vl_vision": _QWEN_VISION | {"embed_dim": 1280, "hidden_act": "quick_gelu", "mlp_ratio": 4},
    "qwen2_5_vl_vision": _QWEN_VISION | _QWEN2_5_VISION,
    "qwen3_vl_vision": _QWEN_VISION | _QWEN3_VISION,
    "florence_vision": _DAVIT,
    "bart": _BART,
    "git": _GIT,
    "git_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 16},
    "llama": _LLAMA | _decoder(32000, 4096, 11008, 32, 32, None, 2048),
    "mistral": _LLAMA | _decoder(32000, 4096, 14336, 32, 32, 8, 131072) | {"sliding_window": 4096},
    "qwen2": _LLAMA | _decoder(151936, 4096, 22016, 32, 32, 32, 32768) | {"sliding_window": 4096},
    "qwen3": _LLAMA | _decoder(151936, 4096, 22016, 32, 32, 32, 32768) | {"head_dim": 128, "sliding_window": 4096},
    "gemma": _GEMMA | _decoder(256000, 3072, 24576, 28, 16, 16, 8192),
    "gemma2": _GEMMA_2
    | _decoder(256000, 2304, 9216, 26, 8, 4, 8192)
    | {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0},
    "gemma3_text": _GEMMA_2 | _decoder(262208, 2304, 9216, 26, 8, 4, 131072),
    "cohere": _COHERE,
    "cohere2": _COHERE | {"sliding_window": 4096},
    "sam2_hiera_det_model": _HIERA_DET,
}
"""{type of a model: its class's defaults that shape the network}."""


def fill_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the values that nested configurations leave out.

    Args:
      config: content of config.json.

    Returns:
      The configuration; its own values, and what it says of the nested ones, stay.
    """
    return {
        key: {**DEFAULTS.get(str(value.get("model_type")), {}), **value} if isinstance(value, Mapping) else value
        for key, value in config.items()
    }
