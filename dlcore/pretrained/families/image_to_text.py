"""Image-to-text models of transformers: TrOCR, Donut, ViT with GPT-2, BLIP, and Donut's Swin alone."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.blip import BLIP
from dlcore.models.image_to_text import SwinTower
from dlcore.models.vision_tower import VisionTower
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.family import (
    Family,
    check_config,
    classifier,
    find_family,
    read_as,
    square_side,
    token_encoder,
    without_head,
)

__all__ = ["FAMILIES"]


def _vit(config: Mapping[str, Any]) -> VisionTower:
    return VisionTower(
        num_classes=0,
        image_size=square_side(config["image_size"]),
        patch_size=square_side(config["patch_size"]),
        depth=config["num_hidden_layers"],
        width=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        mlp_features=config["intermediate_size"],
        num_registers=int(config["model_type"] == "deit"),
        qkv_bias="qkv" if config.get("qkv_bias", True) else "none",
        activation=config["hidden_act"],
        epsilon=config["layer_norm_eps"],
        reads=(config["num_hidden_layers"],),
        skips_first_token=False,
    )


def _swin(config: Mapping[str, Any]) -> SwinTower:
    return SwinTower(**_donut_swin({**config, "id2label": {}})[1])


def _donut_swin(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = read_as("SwinForImageClassification")(config)
    return name, fields | {"last_norm": False}


TOWERS = {"vit": _vit, "deit": _vit, "blip_vision_model": _vit, "donut-swin": _swin}


def _tower(config: Mapping[str, Any]) -> Any:
    if (kind := config["model_type"]) not in TOWERS:
        raise ValueError(f"encoder: model_type={kind!r}: not in dlcore; allowed: {', '.join(TOWERS)}")
    return TOWERS[kind]({**DEFAULTS[kind], **config})


def _gpt2(vision: Mapping[str, Any], text: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    gpt2 = find_family({"architectures": ["GPT2LMHeadModel"]}).model(text)[1]
    check_config(vision, {"model_type": "vit", "hidden_act": "gelu", "qkv_bias": True}, "dlcore's ViT and GPT-2")
    shared = {"hidden_size": gpt2["width"], "num_attention_heads": gpt2["num_heads"]}
    check_config(vision, shared, "dlcore's ViT, beside its GPT-2")
    names = {"decoder_layers": "num_layers", **{name: name for name in ("vocab_size", "window", "num_heads", "width")}}
    return "vit_gpt2", {name: gpt2[source] for name, source in names.items()} | {
        "image_size": square_side(vision["image_size"]),
        "patch_size": square_side(vision["patch_size"]),
        "encoder_layers": vision["num_hidden_layers"],
        "mlp_features": vision["intermediate_size"],
        "encoder_epsilon": vision["layer_norm_eps"],
        "epsilon": gpt2["epsilon"],
    }


def _encoder_decoder(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision, text = config["encoder"], config["decoder"]
    kind = text["model_type"]
    if kind not in ("trocr", "mbart", "gpt2"):
        raise ValueError(f"decoder: model_type={kind!r}: not in dlcore; allowed: gpt2, mbart, trocr")
    text = {**DEFAULTS[kind], **text}
    if kind == "gpt2":
        return _gpt2({**DEFAULTS.get(vision["model_type"], {}), **vision}, text)
    tower = _tower(vision)
    is_mbart = kind == "mbart"
    stages = getattr(tower, "stages", (0,))
    features = tower.width * 2 ** (len(stages) - 1)
    learned = is_mbart or text["use_learned_position_embeddings"]
    return ("donut_base" if is_mbart else "trocr_base"), {
        "tower": tower,
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"],
        "num_layers": text["decoder_layers"],
        "num_heads": text["decoder_attention_heads"],
        "width": text["d_model"],
        "mlp_features": text["decoder_ffn_dim"],
        "activation": text["activation_function"],
        "pre_norm": is_mbart,
        "positions": "learned" if learned else "sinusoidal",
        "offset": 2 if learned else text["pad_token_id"] + 1,
        "embed_scale": text["d_model"] ** 0.5 if text["scale_embedding"] else 1.0,
        "embed_norm": is_mbart or text["layernorm_embedding"],
        "head": "tied" if text["tie_word_embeddings"] else "own",
        "projects": features != text["d_model"] and text.get("cross_attention_hidden_size") is None,
    }


def _blip(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = {**DEFAULTS["blip_text_model"], **config.get("text_config", {})}
    vision = {"model_type": "blip_vision_model", **config.get("vision_config", {})}
    check_config(text, {"is_decoder": True}, "dlcore's BLIP")
    return "blip_base", {
        "tower": _tower(vision),
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"],
        "num_layers": text["num_hidden_layers"],
        "num_heads": text["num_attention_heads"],
        "width": text["hidden_size"],
        "mlp_features": text["intermediate_size"],
        "activation": text["hidden_act"],
        "epsilon": text["layer_norm_eps"],
    }


def _blip_reader(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = {**DEFAULTS["blip_text_model"], **config.get("text_config", {})}
    _, fields = _blip({**config, "text_config": {**text, "is_decoder": True}})
    is_match = config["architectures"][0] == "BlipForImageTextRetrieval"
    sizes = {} if is_match else {"embedding_size": config.get("projection_dim", 512)}
    epsilon = {} if is_match else {"vision_epsilon": fields["tower"].epsilon}
    return "blip_match_base" if is_match else "blip_pairs_base", fields | sizes | epsilon


def _blip_answers(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = {**config.get("text_config", {}), "is_decoder": True}
    _, fields = _blip({**config, "text_config": text})
    return "blip_answers_base", fields | {"tower": BLIP(head="states", **fields)}


def _pairs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, *(inputs.get(name) for name in PAIR_INPUTS))
    if model.head == "match":
        return {"itm_score": outputs}
    images, texts, scale = outputs
    logits = scale * images @ texts.T
    return {"image_embeds": images, "text_embeds": texts, "logits_per_image": logits, "logits_per_text": logits.T}


PAIR_INPUTS = ("pixel_values", "input_ids", "attention_mask")


def _teacher_forced(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tokens = inputs["decoder_input_ids"] if "decoder_input_ids" in inputs else inputs["input_ids"]
    return {"logits": model.apply(variables, inputs["pixel_values"], tokens)}


def _answers(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    source = (inputs["pixel_values"], inputs["input_ids"])
    tokens, mask = inputs["decoder_input_ids"], inputs.get("attention_mask")
    return {"logits": model.apply(variables, source, tokens, False, mask)}


FAMILIES = (
    Family(
        "transformers",
        ("BlipForQuestionAnswering",),
        _blip_answers,
        _answers,
        (*PAIR_INPUTS, "decoder_input_ids"),
        "chat",
    ),
    Family("transformers", ("BlipModel", "BlipForImageTextRetrieval"), _blip_reader, _pairs, PAIR_INPUTS, "pairs"),
    Family("transformers", ("DonutSwinForImageClassification",), _donut_swin, classifier),
    Family("transformers", ("DonutSwinModel",), without_head(_donut_swin), token_encoder),
    Family(
        "transformers",
        ("VisionEncoderDecoderModel",),
        _encoder_decoder,
        _teacher_forced,
        ("pixel_values", "decoder_input_ids"),
        "chat",
    ),
    Family(
        "transformers",
        ("BlipForConditionalGeneration",),
        _blip,
        _teacher_forced,
        ("pixel_values", "input_ids"),
        "chat",
    ),
)
