"""LeViT of transformers and timm."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.models import levit
from dlcore.models.torch_weights import load_torch
from dlcore.pretrained.families.vit import two_heads
from dlcore.pretrained.family import (
    Family,
    check_config,
    classifier,
    num_classes_of,
    square_side,
    timm_arguments,
    token_encoder,
)

__all__ = ["FAMILIES"]

LEVIT = {"num_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1, "patch_size": 16}

LAYERS = (
    (r"^levit\.", ""),
    (r"^patch_embeddings\.embedding_layer_(\d)\.", r"stem.conv\1."),
    (r"\.convolution\.", ".linear."),
    (r"(^|\.)batch_norm\.", r"\1bn."),
    (r"\.module\.queries_keys_values\.", ".attn.qkv."),
    (r"\.module\.projection\.", ".attn.proj.ln."),
    (r"\.module\.attention_biases$", ".attn.attention_biases"),
    (r"\.module\.linear_up\.", ".mlp.ln1."),
    (r"\.module\.linear_down\.", ".mlp.ln2."),
    (r"\.keys_values\.", ".attn_downsample.kv."),
    (r"\.queries\.", ".attn_downsample.q.ln."),
    (r"\.projection\.", ".attn_downsample.proj.ln."),
    (r"\.downsample\.attention_biases$", ".downsample.attn_downsample.attention_biases"),
    (r"^classifier_distill\.", "head_dist."),
    (r"^classifier\.", "head."),
)
"""Parts of transformers' names, in timm's."""


def _levit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, LEVIT, "dlcore's LeViT")
    widths, keys = config["hidden_sizes"], config["key_dim"]
    down = [["Subsample", keys[0], width // keys[0], 4, 2, 2] for width in widths[:2]]
    check_config({**config, "down_ops": config.get("down_ops", down)[:2]}, {"down_ops": down}, "dlcore's LeViT")
    is_encoder = config["architectures"][0] == "LevitModel"
    return "levit_128", {
        "num_classes": 0 if is_encoder else len(config["id2label"]),
        "image_size": square_side(config["image_size"]),
        "stages": tuple(config["depths"]),
        "widths": tuple(widths),
        "num_heads": tuple(config["num_attention_heads"]),
        "key_features": tuple(keys),
        "value_ratios": tuple(config["attention_ratio"]),
        "mlp_ratios": tuple(config["mlp_ratio"]),
        "distilled": config["architectures"][0].endswith("WithTeacher"),
        "drop_path": config.get("drop_path_rate", 0),
    }


def _load(model: levit.LeViT, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """Read transformers' weights, which count the layers of a stage in a row: attentions, MLPs and what shrinks."""
    depths = config["depths"]

    def layer_name(match: re.Match) -> str:
        stage, layer = int(match[1]), int(match[2])
        last = 2 * depths[stage]
        return f"stages.{stage + 1}.downsample" if layer >= last else f"stages.{stage}.blocks.{layer // 2}"

    renamed = {}
    for key, value in arrays.items():
        for pattern, replacement in ((r"encoder\.stages\.(\d)\.layers\.(\d+)", layer_name), *LAYERS):
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    fields: dict[str, Any] = _levit(config)[1]
    new_head = model.num_classes != fields["num_classes"]
    fields["num_classes"] = model.num_classes
    return load_torch("levit_128", renamed, replace_head=new_head, **fields)


TIMM = {"embed_dim": "widths", "depth": "stages", "num_heads": "num_heads"}


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed = {"in_chans": 3, "global_pool": "avg"}
    arguments = timm_arguments(config, (*TIMM, "key_dim", "img_size", "distilled"), fixed)
    published = config.get("pretrained_cfg") or {}
    fields: dict[str, Any] = {"num_classes": num_classes_of(config)}
    fields["image_size"] = square_side(arguments.get("img_size", published.get("input_size", [3, 224, 224])[-1]))
    fields["distilled"] = arguments.get("distilled", True)
    fields |= {field: tuple(arguments[key]) for key, field in TIMM.items() if key in arguments}
    return config["architecture"], fields | (
        {"key_features": (arguments["key_dim"],) * 3} if "key_dim" in arguments else {}
    )


FAMILIES = (
    Family("transformers", ("LevitForImageClassification",), _levit, classifier, load=_load),
    Family("transformers", ("LevitForImageClassificationWithTeacher",), _levit, two_heads, load=_load),
    Family("transformers", ("LevitModel",), _levit, token_encoder, load=_load),
    Family("timm", tuple(levit.MODELS), _of_timm, classifier, ("x",)),
)
