"""VideoPrism of transformers: clips' tokens, their classes, and clips with texts in one space."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.models.videoprism import VideoPrism, VideoPrismText
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

FIXED = {"qkv_bias": True}


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    check_config(config, FIXED | {"num_channels": 3}, "dlcore's VideoPrism")
    frames, *sides = config.get("tubelet_size", (1, 18, 18))
    if frames != 1:
        raise ValueError(f"tubelet_size={config['tubelet_size']}: not of one frame; allowed: [1, P, P]")
    act = config.get("hidden_act", "gelu_python")
    return {
        "image_size": square_side(config.get("image_size", 288)),
        "frames": config.get("num_frames", 16),
        "patch_size": square_side(sides),
        "spatial_depth": config.get("num_spatial_layers", 12),
        "temporal_depth": config.get("num_temporal_layers", 4),
        "width": config.get("hidden_size", 768),
        "num_heads": config.get("num_attention_heads", 12),
        "mlp_features": config.get("intermediate_size", 3072),
        "activation": "gelu" if act == "gelu_python" else act,
        "cap": config.get("attn_logit_softcapping", 50.0),
        "epsilon": config.get("layer_norm_eps", 1e-6),
    }


def _tokens(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "videoprism_base", _fields(config)


def _classes(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "videoprism_base", _fields(config) | {"num_classes": len(config["id2label"])}


def _pairs(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
    check_config(text, FIXED, "dlcore's VideoPrism")
    return "videoprism_lvt_base", {
        "video": VideoPrism(**_fields(vision)),
        "text": VideoPrismText(
            vocab_size=text.get("vocab_size", 32000),
            window=text.get("max_position_embeddings", 64),
            depth=text.get("num_hidden_layers", 12),
            width=text.get("hidden_size", 768),
            num_heads=text.get("num_attention_heads", 12),
            mlp_features=text.get("intermediate_size", 3072),
            activation=text.get("hidden_act", "relu"),
            cap=text.get("attn_logit_softcapping", 50.0),
            epsilon=text.get("layer_norm_eps", 1e-6),
        ),
        "extra_depth": vision.get("num_auxiliary_layers", 2),
        "normalize": (vision.get("apply_l2norm", True), text.get("apply_l2norm", True)),
    }


def _describe(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values_videos"])}


def _classify(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    logits = model.apply(variables, inputs["pixel_values_videos"])
    return {"logits": logits[:, None]}  # the library keeps the query's axis


def _compare(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = {}
    if (clips := inputs.get("pixel_values_videos")) is not None:
        outputs["video_embeds"] = model.apply(variables, clips, method="encode_clip")
    if (tokens := inputs.get("input_ids")) is not None:
        outputs["text_embeds"] = model.apply(variables, tokens, inputs.get("attention_mask"), method="encode_text")
    if len(outputs) == 2:
        products = jnp.einsum("vd,td->vt", outputs["video_embeds"], outputs["text_embeds"])
        outputs["logits_per_video"] = jax.nn.softmax(products, 0)  # of a text over the clips
        outputs["logits_per_text"] = jax.nn.softmax(products.T, 0)
    return outputs


CLIPS = ("pixel_values_videos",)
PAIRS = (*CLIPS, "input_ids", "attention_mask")


FAMILIES = (
    Family("transformers", ("VideoPrismVisionModel",), _tokens, _describe, CLIPS, "video"),
    Family("transformers", ("VideoPrismForVideoClassification",), _classes, _classify, CLIPS, "video"),
    Family("transformers", ("VideoPrismClipModel",), _pairs, _compare, PAIRS, "video"),
)
