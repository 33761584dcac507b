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


_CLIP_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}


_CLIP_TEXT |= {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407}


_DETR = {"num_queries": 100, "d_model": 256, "decoder_layers": 6, "decoder_attention_heads": 8, "decoder_ffn_dim": 2048}


_VITPOSE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4, "num_experts": 1}


_VITPOSE |= {"image_size": [256, 192], "patch_size": [16, 16], "hidden_act": "gelu", "layer_norm_eps": 1e-12}


_WINDOWED = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4}


DEFAULTS: dict[str, dict[str, Any]] = {
    "clip_text_model": _CLIP | _CLIP_TEXT,
    "clip_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "metaclip_2_text_model": _CLIP | _CLIP_TEXT,
    "metaclip_2_vision_model": _CLIP | _BASE | {"image_size": 224, "patch_size": 32},
    "siglip_text_model": _SIGLIP | {"vocab_size": 32000, "max_position_embeddings": 64},
    "siglip_vision_model": _SIGLIP | {"image_size": 224, "patch_size": 16},
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
