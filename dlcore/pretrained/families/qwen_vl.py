"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL of transformers."""

import math
from collections.abc import Mapping
from typing import Any

from dlcore.models.llama import Llama
from dlcore.models.qwen_tower import PatchSequence, QwenTower
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.families.decoders import decoder_fields
from dlcore.pretrained.family import Family, Read, check_config, square_side

__all__ = ["FAMILIES"]


def _qwen2(vision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "features": vision["hidden_size"],
        "width": vision["embed_dim"],
        "mlp_features": int(vision["embed_dim"] * vision["mlp_ratio"]),
    }


def _qwen2_5(vision: Mapping[str, Any]) -> dict[str, Any]:
    window = vision["window_size"] // vision["spatial_merge_size"] // square_side(vision["patch_size"])
    return _later(vision) | {
        "gated": True,
        "norm": "rms",
        "window": window * vision["spatial_merge_size"],
        "full_blocks": tuple(vision["fullatt_block_indexes"]),
    }


def _qwen3(vision: Mapping[str, Any]) -> dict[str, Any]:
    return _later(vision) | {
        "table_side": math.isqrt(vision["num_position_embeddings"]),
        "deepstack": tuple(vision["deepstack_visual_indexes"]),
        "patch_bias": True,
    }


def _later(vision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "features": vision["out_hidden_size"],
        "width": vision["hidden_size"],
        "mlp_features": vision["intermediate_size"],
    }


TOWERS = {"qwen2_vl": _qwen2, "qwen2_5_vl": _qwen2_5, "qwen3_vl": _qwen3}
"""{type of a configuration: reads the fields in which its tower differs}."""


def _reader(kind: str) -> Read:
    def read(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        vision = {**DEFAULTS[f"{kind}_vision"], **config.get("vision_config", {})}
        text = {**DEFAULTS[f"{kind}_text"], **config.get("text_config", config)}  # files of 2024 do not nest it
        check_config(vision.get("rope_parameters") or {}, {"rope_type": "axial"}, "dlcore's QwenVL")
        is_third = kind == "qwen3_vl"
        frame = vision.get("in_channels", 3) * square_side(vision["patch_size"]) ** 2
        tower = QwenTower(
            patch_features=frame * vision["temporal_patch_size"],
            depth=vision["depth"],
            num_heads=vision["num_heads"],
            merge=vision["spatial_merge_size"],
            activation=vision["hidden_act"],
            period=float((vision.get("rope_parameters") or {}).get("rope_theta", 10_000.0)),
            **TOWERS[kind](vision),
        )
        decoder = decoder_fields(text, "qwen3" if is_third else "qwen2")
        decoder["tied"] = config.get("tie_word_embeddings", text["tie_word_embeddings"])
        decoder |= {"mrope_interleaved": True} if is_third else {}
        decoder["mrope_sections"] = decoder.get("mrope_sections", (24, 20, 20))
        return "qwen2_vl_7b", {
            "tower": tower,
            "decoder": Llama(**decoder),
            "image_token": config.get("image_token_id", 151655),
        }

    return read


def _next_token(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    images = PatchSequence(inputs["pixel_values"], inputs["image_grid_thw"]) if "pixel_values" in inputs else None
    return {"logits": model.apply(variables, inputs["input_ids"], images)}


INPUTS = (*PatchSequence._fields, "input_ids", "mm_token_type_ids")
ARCHITECTURES = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}


FAMILIES = tuple(
    Family("transformers", (f"{name}ForConditionalGeneration",), _reader(kind), _next_token, INPUTS, "chat")
    for kind, name in ARCHITECTURES.items()
)
