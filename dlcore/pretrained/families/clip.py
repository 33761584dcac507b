"""CLIP, SigLIP and SigLIP 2 of transformers, and CLIP of OpenCLIP: images and texts in one space."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.models.clip import CLIP, SigLIP
from dlcore.models.inputs import PackedImages
from dlcore.models.siglip2 import SigLIP2
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES", "INPUTS", "pairs", "tower_fields"]

TOWER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
"""What transformers takes where the configuration of a SigLIP 2 leaves a field out."""


def tower_fields(vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of the two towers of a CLIP.

    Args:
      vision: configuration of the image tower.
      text: configuration of the text tower.

    Returns:
      Fields of `dlcore.models.clip.CLIP`, but for `end_token` and `embedding_size`.
    """
    shared = {name: vision[name] for name in ("hidden_act", "layer_norm_eps")}
    check_config(text, shared, "dlcore's text tower, beside its image tower")
    return {
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"],
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "vision_depth": vision["num_hidden_layers"],
        "vision_width": vision["hidden_size"],
        "vision_heads": vision["num_attention_heads"],
        "text_depth": text["num_hidden_layers"],
        "text_width": text["hidden_size"],
        "text_heads": text["num_attention_heads"],
        "mlp_features": vision["intermediate_size"],
        "text_mlp_features": text["intermediate_size"],
        "activation": vision["hidden_act"],
        "epsilon": vision["layer_norm_eps"],
    }


def _clip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = config["text_config"]
    end_token = 49407 if text["eos_token_id"] == 2 else text["eos_token_id"]  # files of 2023 name another token
    fields = tower_fields(config["vision_config"], text)
    return "clip_vit_b_32", fields | {"embedding_size": config["projection_dim"], "end_token": end_token}


def _siglip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = config["vision_config"]
    check_config(vision, {"vision_use_head": True}, "dlcore's SigLIP")
    fields = tower_fields(vision, config["text_config"])
    return "siglip_base_patch16_224", fields | {
        "end_token": 1,
        "crop_rest": vision["image_size"] % vision["patch_size"] != 0,
    }


def _siglip2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {**TOWER, "patch_size": 16, "num_patches": 256, **config.get("vision_config", {})}
    text = {**TOWER, "vocab_size": 32000, "max_position_embeddings": 64, **config.get("text_config", {})}
    side = math.isqrt(vision["num_patches"]) * vision["patch_size"]
    return "siglip2_base_patch16_naflex", tower_fields({**vision, "image_size": side}, text) | {"end_token": 1}


def _images(model: Any, inputs: dict[str, Any]) -> Any:
    if not isinstance(model, SigLIP2):
        return inputs["pixel_values"]
    if missing := [key for key in PackedImages._fields if key not in inputs]:
        raise ValueError(f"{missing[0]}: missing beside pixel_values; allowed: {', '.join(PackedImages._fields)}")
    return PackedImages(*(inputs[key] for key in PackedImages._fields))


def pairs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Embed images, texts or both.

    Args:
      model: a CLIP or SigLIP.
      variables: its variables.
      inputs: images, tokens or both by the library's names.

    Returns:
      {"image_embeds": [B, D], "text_embeds": [T, D], of length 1; of both "logits_per_image": [B, T],
      "logits_per_text": [T, B]}.
    """
    outputs = {}
    if "pixel_values" in inputs:
        outputs["image_embeds"] = model.apply(variables, _images(model, inputs), method="encode_image")
    if "input_ids" in inputs:
        outputs["text_embeds"] = model.apply(variables, inputs["input_ids"], method="encode_text")
    if len(outputs) == 2:
        cosines = jnp.einsum("id,td->it", outputs["image_embeds"], outputs["text_embeds"])
        scores = model.apply(variables, method="scale") * cosines
        if isinstance(model, SigLIP):
            scores = scores + variables["params"]["logit_bias"]
        outputs |= {"logits_per_image": scores, "logits_per_text": scores.T}
    return outputs


def _tower(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Read an image tower alone, with a classifier or without."""
    architecture = config["architectures"][0]
    vision = config["vision_config"] if architecture.endswith("ForImageClassification") else config
    kind = next(kind for kind, prefixes in TOWERS.items() if architecture.startswith(prefixes))
    if kind is not CLIP:
        check_config(vision, {"vision_use_head": True}, "dlcore's SigLIP")
    vision = {**TOWER, "patch_size": 16, "num_patches": 256, **vision} if kind is SigLIP2 else vision
    side = math.isqrt(vision["num_patches"]) * vision["patch_size"] if kind is SigLIP2 else vision["image_size"]
    fields = tower_fields({**vision, "image_size": side}, {**vision, "vocab_size": 1, "max_position_embeddings": 1})
    crop_rest = kind is SigLIP and side % vision["patch_size"] != 0
    return "clip_vision_b_32", {
        "tower": kind(**fields, end_token=0, crop_rest=crop_rest),
        "num_classes": len(config["id2label"]) if "id2label" in config and vision is not config else 0,
    }


TOWERS = {SigLIP2: "Siglip2", SigLIP: "Siglip", CLIP: ("CLIP", "MetaClip2")}
"""Kinds of towers, and what the names of their classes start with; the first counts."""


def _describe(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    images = _images(model.tower, inputs)
    tokens = {} if model.num_classes else {"last_hidden_state": model.apply(variables, images, method="tokens")}
    return tokens | {"logits" if model.num_classes else "pooler_output": model.apply(variables, images)}


def _metaclip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _clip(config)
    return name, fields | {"end_token": config["text_config"]["eos_token_id"]}


def _openclip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    model = config["model_cfg"]
    vision, text = model["vision_cfg"], model["text_cfg"]
    if not isinstance(vision.get("layers"), int) or "timm_model_name" in vision:
        raise ValueError("model_cfg: its image tower is no ViT of OpenCLIP; allowed: vision_cfg with layers")
    return "clip_vit_b_32", {
        "vocab_size": text["vocab_size"],
        "window": text["context_length"],
        "end_token": text["vocab_size"] - 1,
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "embedding_size": model["embed_dim"],
        "vision_depth": vision["layers"],
        "vision_width": vision["width"],
        "vision_heads": vision["width"] // vision.get("head_width", 64),
        "mlp_features": int(vision["width"] * vision.get("mlp_ratio", 4)),
        "text_depth": text["layers"],
        "text_width": text["width"],
        "text_heads": text["heads"],
        "text_mlp_features": 4 * text["width"],
        "activation": "quick_gelu" if model.get("quick_gelu") else "gelu",
    }


INPUTS = ("pixel_values", "input_ids", "attention_mask")


CLASSIFIERS = tuple(f"{kind}ForImageClassification" for kind in ("CLIP", "MetaClip2", "Siglip"))


FAMILIES = (
    Family("transformers", ("MetaClip2Model",), _metaclip, pairs, INPUTS, "pairs"),
    Family("transformers", CLASSIFIERS, _tower, _describe),
    Family("transformers", ("Siglip2ForImageClassification",), _tower, _describe, PackedImages._fields),
    Family("transformers", ("SiglipVisionModel",), _tower, _describe, kind="encoder"),
    Family("transformers", ("CLIPModel",), _clip, pairs, INPUTS, "pairs"),
    Family("transformers", ("SiglipModel",), _siglip, pairs, INPUTS, "pairs"),
    Family("transformers", ("Siglip2Model",), _siglip2, pairs, (*PackedImages._fields, *INPUTS[1:]), "pairs"),
    Family("open_clip", ("CLIP",), _openclip, pairs, INPUTS, "pairs"),
)
