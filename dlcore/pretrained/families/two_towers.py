"""Chinese CLIP and AltCLIP of transformers: images and texts in one space, the texts' by a BERT."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.models.bert import BERT
from dlcore.models.clip import CLIP
from dlcore.models.image_tower import ImageTower
from dlcore.pretrained.families.clip import tower_fields
from dlcore.pretrained.family import Family

__all__ = ["FAMILIES"]


def text_tower(text: Mapping[str, Any], **fields: Any) -> BERT:
    """Read the text's BERT.

    Args:
      text: its configuration.
      fields: further fields.

    Returns:
      The network.
    """
    values = {
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"],
        "num_layers": text["num_hidden_layers"],
        "num_heads": text["num_attention_heads"],
        "width": text["hidden_size"],
        "mlp_features": text["intermediate_size"],
        "num_segments": text["type_vocab_size"],
        "epsilon": text["layer_norm_eps"],
        "hidden_act": text["hidden_act"],
        "head": "pooled",
    }
    return BERT(**{**values, **fields})


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    vision = config["vision_config"]
    side = {**vision, "vocab_size": 1, "max_position_embeddings": 1}  # the text's side of its CLIP, which is not used
    return {"image": ImageTower(CLIP(**tower_fields(vision, side), end_token=0))}


def _chinese_clip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = text_tower(config["text_config"])
    size = config.get("projection_dim", 512)
    return "chinese_clip_vit_b_16", _fields(config) | {"text": text, "embedding_size": size}


def _altclip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text, pad_token = config["text_config"], config["text_config"]["pad_token_id"]
    window = text["max_position_embeddings"] - pad_token - 1  # positions start behind the padding's number
    return "altclip_vit_l_14", _fields(config) | {
        "text": text_tower(text, pad_token=pad_token, window=window),
        "embedding_size": config.get("projection_dim", 768),
        "text_width": text["project_dim"],
    }


def pairs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Embed images, texts or both.

    Args:
      model: a `dlcore.models.two_towers.TwoTowers`, or a network with its methods.
      variables: its variables.
      inputs: images, tokens or both by the library's names.

    Returns:
      {"image_embeds": [B, D], "text_embeds": [T, D], of length 1; of both "logits_per_image": [B, T],
      "logits_per_text": [T, B]}.
    """
    outputs = {}
    if "pixel_values" in inputs:
        outputs["image_embeds"] = model.apply(variables, inputs["pixel_values"], method="encode_image")
    if "input_ids" in inputs:
        segments = [inputs["token_type_ids"]] if "token_type_ids" in inputs else []
        texts = (inputs["input_ids"], inputs.get("attention_mask"), *segments)
        outputs["text_embeds"] = model.apply(variables, *texts, method="encode_text")
    if len(outputs) == 2:
        cosines = jnp.einsum("id,td->it", outputs["image_embeds"], outputs["text_embeds"])
        scores = model.apply(variables, method="scale") * cosines
        outputs |= {"logits_per_image": scores, "logits_per_text": scores.T}
    return outputs


INPUTS = ("pixel_values", "input_ids", "attention_mask", "token_type_ids")


FAMILIES = (
    Family("transformers", ("ChineseCLIPModel",), _chinese_clip, pairs, INPUTS, "pairs"),
    Family("transformers", ("AltCLIPModel",), _altclip, pairs, INPUTS, "pairs"),
)
