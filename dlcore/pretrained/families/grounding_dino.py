"""Grounding DINO and MM Grounding DINO of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.bert import BERT
from dlcore.models.feature_maps import FeatureMaps
from dlcore.pretrained.families.detectors import padded_sizes
from dlcore.pretrained.family import Family, check_config, find_family, read_as

__all__ = ["FAMILIES"]

FIXED = {"activation_function": "relu", "position_embedding_type": "sine", "two_stage": True, "query_dim": 4}


FIXED |= {"embedding_init_target": True, "layer_norm_eps": 1e-5}
"""What dlcore's network has, where a configuration may say otherwise."""


BERT_BASE = {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}


BERT_BASE |= {"intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2}


BERT_BASE |= {"layer_norm_eps": 1e-12, "hidden_act": "gelu"}
"""What transformers takes where the configuration of the text leaves a field out."""


def _model(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    is_mm = config["architectures"][0].startswith("MM")
    where = "dlcore's Grounding DINO"
    check_config(config, FIXED, where)
    check_config(config["backbone_config"], {"model_type": "swin"}, where)
    check_config(config["text_config"], {"model_type": "bert"}, where)
    name = {"architectures": ["SwinBackbone"]}
    inner = config["backbone_config"]
    stages = inner.get("out_features") or [f"stage{i}" for i in inner.get("out_indices") or (2, 3, 4)]
    backbone = find_family(name).model({**inner, "id2label": {}, "out_features": stages, **name})[1]
    text = read_as("BertModel")({**BERT_BASE, **config["text_config"]})[1]
    return "mm_grounding_dino_tiny" if is_mm else "grounding_dino_tiny", {
        "backbone": FeatureMaps(**backbone),
        "text_backbone": BERT(**text),
        "num_levels": config["num_feature_levels"],
        "num_queries": config["num_queries"],
        "features": config["d_model"],
        "encoder_heads": config["encoder_attention_heads"],
        "encoder_hidden_features": config["encoder_ffn_dim"],
        "encoder_layers": config["encoder_layers"],
        "encoder_points": config["encoder_n_points"],
        "decoder_heads": config["decoder_attention_heads"],
        "decoder_hidden_features": config["decoder_ffn_dim"],
        "decoder_layers": config["decoder_layers"],
        "decoder_points": config["decoder_n_points"],
        "max_text_length": config["max_text_len"],
        "shared_heads": config.get("decoder_bbox_embed_share", True),
        "scaled": is_mm,
        "max_period": float(config.get("positional_embedding_temperature", 20)),
    }


def _outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    masks = inputs.get("attention_mask"), padded_sizes(inputs), inputs.get("token_type_ids")
    outputs = model.apply(variables, inputs["pixel_values"], inputs["input_ids"], *masks)
    return {"logits": outputs.logits[:, -1], "pred_boxes": outputs.boxes[:, -1]}


INPUTS = ("pixel_values", "input_ids", "attention_mask", "pixel_mask", "token_type_ids")


NAMES = ("GroundingDinoForObjectDetection", "MMGroundingDinoForObjectDetection")


FAMILIES = (Family("transformers", NAMES, _model, _outputs, INPUTS, "detection"),)
