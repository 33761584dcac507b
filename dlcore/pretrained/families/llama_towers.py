"""Image towers of Llama 3.2 Vision (Mllama) and Llama 4, of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.llama4_tower import MODELS
from dlcore.models.vision_tower import Projector
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]


def _mllama(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"num_channels": 3}, "dlcore's Mllama")
    width, depth = config.get("hidden_size", 1280), config.get("num_hidden_layers", 32)
    reads = config.get("intermediate_layers_indices") or (3, 7, 15, 23, 30)
    if any(not 0 <= i < depth for i in reads):
        raise ValueError(
            f"intermediate_layers_indices={reads!r}: the network has {depth} layers; allowed: 0 to {depth - 1}"
        )
    check_config(config, {"vision_output_dim": width * (1 + len(reads))}, "dlcore's Mllama")
    return "mllama_vision", {
        "image_size": square_side(config.get("image_size", 448)),
        "patch_size": square_side(config.get("patch_size", 14)),
        "depth": depth,
        "global_depth": config.get("num_global_layers", 8),
        "width": width,
        "num_heads": config.get("attention_heads", config.get("num_attention_heads", 16)),
        "mlp_features": config.get("intermediate_size", 5120),
        "activation": config.get("hidden_act", "gelu"),
        "tiles": config.get("max_num_tiles", 4),
        "layouts": len(config.get("supported_aspect_ratios") or range(8)),
        "reads": tuple(reads),
        "epsilon": config.get("norm_eps", 1e-5),
    }


def _tiles(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tiles, layouts, mask = (inputs[name] for name in MLLAMA_INPUTS)
    # transformers gives [B, images, tiles, ...]; images do not see each other.
    flat = tiles.reshape(-1, *tiles.shape[2:]), layouts.reshape(-1), mask.reshape(-1, mask.shape[-1]).astype(bool)
    tokens = model.apply(variables, *flat)
    return {"last_hidden_state": tokens.reshape(*tiles.shape[:2], *tokens.shape[1:])}


def _llama4(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    width, ratio = config.get("hidden_size", 768), config.get("pixel_shuffle_ratio", 0.5)
    units, features = config.get("projector_input_dim", 4096), config.get("projector_output_dim", 4096)
    shuffle, depth = round(1 / ratio), config.get("num_hidden_layers", 34)
    # transformers' MLP after the shuffle reads intermediate_size features, and its second layer projector_output_dim.
    fixed = {
        "num_channels": 3,
        "hidden_act": "gelu",
        "pixel_shuffle_ratio": 1 / shuffle,
        "projector_input_dim": features,
    }
    defaults = {"intermediate_size": 5632, "projector_input_dim": units}
    check_config({**defaults, **config}, fixed, "dlcore's Llama 4")
    rope = config.get("rope_parameters") or {}
    check_config(rope, {"rope_type": "default"}, "dlcore's Llama 4")
    tower = MODELS["llama4_vision"]().tower.clone(
        image_size=square_side(config.get("image_size", 448)),
        patch_size=square_side(config.get("patch_size", 14)),
        depth=depth,
        reads=(depth,),
        width=width,
        num_heads=config.get("num_attention_heads", 16),
        mlp_features=shuffle**2 * width,
        rotary_period=float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
    )
    projector = Projector(features, hidden_features=units, shuffle=shuffle, use_bias=False)
    return "llama4_vision", {"tower": tower, "projector": projector}


def _joined(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values"])}


MLLAMA_INPUTS = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
FAMILIES = (
    Family("transformers", ("MllamaVisionModel",), _mllama, _tiles, MLLAMA_INPUTS, "encoder"),
    Family("transformers", ("Llama4VisionModel",), _llama4, _joined, kind="encoder"),
)
