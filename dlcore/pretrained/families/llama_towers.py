"""Image towers of Llama 3.2 Vision (Mllama) and Llama 4, of transformers."""

from collections.abc import Mapping
from typing import Any

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


MLLAMA_INPUTS = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
FAMILIES = (Family("transformers", ("MllamaVisionModel",), _mllama, _tiles, MLLAMA_INPUTS, "encoder"),)
