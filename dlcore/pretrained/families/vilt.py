"""ViLT of transformers: answers to questions, matches of images and texts, masked words, and the vector alone."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

HEADS = {
    "ViltForQuestionAnswering": "answers",
    "ViltForImageAndTextRetrieval": "match",
    "ViltForMaskedLM": "tokens",
    "ViltModel": "pooled",
}
NAMES = {
    "vocab_size": ("vocab_size", 30522),
    "max_position_embeddings": ("window", 40),
    "num_hidden_layers": ("num_layers", 12),
    "num_attention_heads": ("num_heads", 12),
    "hidden_size": ("width", 768),
    "intermediate_size": ("mlp_features", 3072),
    "type_vocab_size": ("num_segments", 2),
    "modality_type_vocab_size": ("num_modalities", 2),
    "qkv_bias": ("qkv_bias", True),
    "hidden_act": ("activation", "gelu"),
    "layer_norm_eps": ("epsilon", 1e-12),
}
INPUTS = ("pixel_values", "input_ids", "attention_mask", "token_type_ids", "pixel_mask")


def _vilt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    # More patches than max_image_length would be drawn by chance.
    check_config(config, {"max_image_length": -1, "num_channels": 3}, "dlcore's ViLT")
    head = HEADS[config["architectures"][0]]
    num_classes = len(config.get("id2label") or range(config.get("num_labels", 2)))
    return "vilt_b32", {field: config.get(key, default) for key, (field, default) in NAMES.items()} | {
        "head": head,
        "num_classes": num_classes if head == "answers" else 1,
        "image_size": square_side(config.get("image_size", 384)),
        "patch_size": square_side(config.get("patch_size", 32)),
    }


def _read(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    output = model.apply(variables, *(inputs.get(name) for name in INPUTS))
    return {"pooler_output" if model.head == "pooled" else "logits": output}


FAMILIES = (Family("transformers", tuple(HEADS), _vilt, _read, INPUTS, "pairs"),)
