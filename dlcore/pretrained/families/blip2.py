"""BLIP-2 of transformers, with OPT, and its Q-Former that compares images and texts."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.opt import OPT
from dlcore.models.qformer import QFormer
from dlcore.models.vision_tower import VisionTower
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

VISION = {"hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39, "num_attention_heads": 16}
VISION |= {"image_size": 224, "patch_size": 14, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True}
QUERIES = {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
QUERIES |= {"intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512, "layer_norm_eps": 1e-12}
QUERIES |= {"cross_attention_frequency": 2, "use_qformer_text_input": False}
TEXT = {"model_type": "opt", "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072}
TEXT |= {"max_position_embeddings": 2048, "num_attention_heads": 12, "activation_function": "relu"}
FIXED = {"do_layer_norm_before": True, "_remove_final_layer_norm": False, "enable_bias": True}
FIXED |= {"layer_norm_elementwise_affine": True, "tie_word_embeddings": True}


def _tower(config: Mapping[str, Any]) -> VisionTower:
    vision = {**VISION, **(config.get("vision_config") or {})}
    return VisionTower(
        num_classes=0,
        image_size=square_side(vision["image_size"]),
        patch_size=square_side(vision["patch_size"]),
        depth=vision["num_hidden_layers"],
        width=vision["hidden_size"],
        num_heads=vision["num_attention_heads"],
        mlp_features=vision["intermediate_size"],
        qkv_bias="qkv" if vision["qkv_bias"] else "none",
        activation=vision["hidden_act"],
        epsilon=vision["layer_norm_eps"],
        reads=(vision["num_hidden_layers"],),
        skips_first_token=False,
        crop_rest=True,
    )


def _qformer(config: Mapping[str, Any], reads_words: bool) -> QFormer:
    queries = {**QUERIES, **(config.get("qformer_config") or {})}
    check_config(queries, {"use_qformer_text_input": reads_words}, "dlcore's BLIP-2")
    return QFormer(
        num_queries=config.get("num_query_tokens", 32),
        vocab_size=queries["vocab_size"] if reads_words else 0,
        window=queries["max_position_embeddings"],
        num_layers=queries["num_hidden_layers"],
        num_heads=queries["num_attention_heads"],
        width=queries["hidden_size"],
        mlp_features=queries["intermediate_size"],
        cross_every=queries["cross_attention_frequency"],
        activation=queries["hidden_act"],
        epsilon=queries["layer_norm_eps"],
    )


def _writer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = {**TEXT, **(config.get("text_config") or {})}
    check_config(text, {"model_type": "opt"}, "dlcore's BLIP-2")
    width = text["hidden_size"]
    embedding = text.get("word_embed_proj_dim") or width
    check_config({**text, "word_embed_proj_dim": embedding}, FIXED | {"word_embed_proj_dim": width}, "dlcore's OPT")
    decoder = OPT(
        vocab_size=text["vocab_size"],
        window=text["max_position_embeddings"],
        num_layers=text["num_hidden_layers"],
        num_heads=text["num_attention_heads"],
        width=width,
        mlp_features=text["ffn_dim"],
        activation=text["activation_function"],
    )
    return "blip2_opt_2_7b", {
        "tower": _tower(config),
        "projector": _qformer(config, False),
        "decoder": decoder,
        "image_token": config["image_token_index"],
    }


def _comparer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    # The images' tokens that may stand before the words are as many as the queries; see `_trim`.
    return "blip2_itm_vit_g", {
        "tower": _tower(config),
        "qformer": _qformer(config, True),
        "embedding_size": config.get("image_text_hidden_size", 256),
    }


def _trim(config: Mapping[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """Leave out the image tokens before the words, which files with an index of that token have."""
    count = 0 if config.get("image_token_index") is None else config.get("num_query_tokens", 32)
    return {name: value if name == "pixel_values" else value[:, count:] for name, value in inputs.items()}


def _compare(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    images, texts, match = model.apply(variables, *(inputs.get(name) for name in PAIR_INPUTS))
    logits = (images @ texts.T).max(1)
    outputs = {"image_embeds": images, "text_embeds": texts, "logits_per_image": logits, "logits_per_text": logits.T}
    return outputs if match is None else outputs | {"itm_score": match}


PAIR_INPUTS = ("pixel_values", "input_ids", "attention_mask")


def _write(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["input_ids"], inputs.get("pixel_values"))}


FAMILIES = (
    Family(
        "transformers",
        ("Blip2ForImageTextRetrieval",),
        _comparer,
        _compare,
        PAIR_INPUTS,
        "pairs",
        prepare=_trim,
    ),
    Family("transformers", ("Blip2ForConditionalGeneration",), _writer, _write, ("pixel_values", "input_ids"), "chat"),
)
