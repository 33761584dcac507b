"""GIT of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.vision_tower import VisionTower
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.family import Family, square_side

__all__ = ["FAMILIES"]


def _git(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {**DEFAULTS["git_vision_model"], **config.get("vision_config", {})}
    text = {**DEFAULTS["git"], **config}
    image_size, patch_size = square_side(vision["image_size"]), square_side(vision["patch_size"])
    tower = VisionTower(
        num_classes=0,
        image_size=image_size,
        patch_size=patch_size,
        depth=vision["num_hidden_layers"],
        width=vision["hidden_size"],
        num_heads=vision["num_attention_heads"],
        mlp_features=vision["intermediate_size"],
        pre_norm=True,
        activation=vision["hidden_act"],
        epsilon=vision["layer_norm_eps"],
        reads=(vision["num_hidden_layers"],),
        skips_first_token=False,
    )
    frames = text.get("num_image_with_embedding") or 0
    image_tokens = ((image_size // patch_size) ** 2 + 1) * max(frames, 1)
    return "git_base", {
        "tower": tower,
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"] + image_tokens,
        "image_tokens": image_tokens,
        "num_layers": text["num_hidden_layers"],
        "num_heads": text["num_attention_heads"],
        "width": text["hidden_size"],
        "mlp_features": text["intermediate_size"],
        "activation": text["hidden_act"],
        "num_frames": frames,
        "vision_epsilon": vision["layer_norm_eps"],
        "epsilon": text["layer_norm_eps"],
    }


def _next_token(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["input_ids"], inputs.get("pixel_values"))}


FAMILIES = (Family("transformers", ("GitForCausalLM",), _git, _next_token, ("pixel_values", "input_ids"), "chat"),)
