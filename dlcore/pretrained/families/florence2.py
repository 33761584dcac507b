"""Florence-2 of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.davit import DaViT
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

STAGES = {
    "stages": "depths",
    "widths": "embed_dim",
    "heads": "num_heads",
    "groups": "num_groups",
    "kernels": "patch_size",
    "strides": "patch_stride",
    "paddings": "patch_padding",
    "norm_first": "patch_prenorm",
}
"""{field of `DaViT`: name in the configuration}, one value a stage."""


def _florence2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {**DEFAULTS["florence_vision"], **config.get("vision_config", {})}
    text = {**DEFAULTS["bart"], **config.get("text_config", {})}
    check_config(vision, {"activation_function": "gelu", "projection_dim": text["d_model"]}, "dlcore's Florence2")
    check_config(config, {"tie_word_embeddings": True}, "dlcore's Florence2")
    fixed = {"model_type": "bart", "scale_embedding": False}
    fixed |= {f"decoder_{name}": text[f"encoder_{name}"] for name in ("ffn_dim", "attention_heads")}
    check_config(text, fixed, "dlcore's Florence2")
    stages: dict[str, Any] = {field: tuple(vision[name]) for field, name in STAGES.items()}
    tower = DaViT(
        **stages,
        window=vision["window_size"],
        mlp_ratio=float(vision["mlp_ratio"]),
        qkv_bias=vision["qkv_bias"],
    )
    return "florence2_base", {
        "tower": tower,
        "rows": vision["max_position_embeddings"],
        "image_token": config.get("image_token_id", 51289),
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"],
        "encoder_layers": text["encoder_layers"],
        "decoder_layers": text["decoder_layers"],
        "num_heads": text["encoder_attention_heads"],
        "width": text["d_model"],
        "mlp_features": text["encoder_ffn_dim"],
        "activation": text["activation_function"],
        "pad_token": text["pad_token_id"],
    }


def _teacher_forced(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    mask, images = inputs.get("attention_mask"), inputs.get("pixel_values")
    return {"logits": model.apply(variables, inputs["input_ids"], inputs["decoder_input_ids"], False, mask, images)}


INPUTS = ("pixel_values", "input_ids", "attention_mask", "decoder_input_ids")


FAMILIES = (
    Family("transformers", ("Florence2ForConditionalGeneration",), _florence2, _teacher_forced, INPUTS, "chat"),
)
