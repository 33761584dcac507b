"""OneFormer of transformers: masks and classes of queries, for a task that a text names."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.families.swin import swin_backbone
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

FIXED = {
    "pre_norm": False,
    "enforce_input_proj": False,
    "use_task_norm": True,
    "norm": "GN",
    "common_stride": 4,
    "strides": [4, 8, 16, 32],
    "layer_norm_eps": 1e-5,
}


def _oneformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    where, width = "dlcore's OneFormer", config["hidden_dim"]
    # transformers' files lack the projection of other widths
    check_config(config, FIXED | {"conv_dim": width, "mask_dim": width}, where)
    check_config(config["backbone_config"], {"model_type": "swin"}, where)
    return "oneformer_swin_t", {
        "backbone": swin_backbone(config["backbone_config"]),
        "num_classes": len(config["id2label"]),
        "num_queries": config["num_queries"],
        "features": width,
        "num_heads": config["num_attention_heads"],
        "hidden_features": config["dim_feedforward"],
        "decoder_layers": config["decoder_layers"] - 1,  # transformers counts the queries at first as a layer
        "pixel_features": width,
        "encoder_layers": config["encoder_layers"],
        "encoder_hidden_features": config["encoder_feedforward_dim"],
        "mask_features": width,
        "query_layers": config["query_dec_layers"],
        "task_length": config["task_seq_len"],
    }


def _masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"], inputs["task_inputs"])
    return {"class_queries_logits": outputs.class_logits[:, -1], "masks_queries_logits": outputs.mask_logits[:, -1]}


INPUTS = ("pixel_values", "task_inputs", "pixel_mask")


FAMILIES = (Family("transformers", ("OneFormerForUniversalSegmentation",), _oneformer, _masks, INPUTS, "segmentation"),)
