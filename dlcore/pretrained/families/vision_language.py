"""Vision-language models of transformers: LLaVA, PaliGemma, Gemma 3, Idefics3, SmolVLM, InternVL and relatives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlcore.models.llama import Llama
from dlcore.models.vision_tower import Projector, VisionTower
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.families.decoders import decoder_fields
from dlcore.pretrained.family import Family, Read, check_config, square_side

__all__ = ["FAMILIES"]


def _clip(vision: Mapping[str, Any]) -> dict[str, Any]:
    return {"pre_norm": True, "patch_size": vision["patch_size"]}


def _siglip(vision: Mapping[str, Any]) -> dict[str, Any]:
    crop_rest = vision["image_size"] % vision["patch_size"] != 0
    return {"class_token": False, "pool": "mean", "patch_size": vision["patch_size"], "crop_rest": crop_rest}


def _internvl(vision: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {"use_qk_norm": False, "norm_type": "layer_norm", "use_absolute_position_embeddings": True}
    check_config(vision, fixed, "dlcore's InternVL")
    return {
        "patch_size": square_side(vision["patch_size"]),
        "qkv_bias": "qkv" if vision.get("attention_bias") else "none",
        "layer_scale": vision["layer_scale_init_value"],
    }


TOWERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "clip_vision_model": _clip,
    "siglip_vision_model": _siglip,
    "idefics3_vision": _siglip,
    "smolvlm_vision": _siglip,
    "internvl_vision": _internvl,
}


def _tower(vision: Mapping[str, Any], layers: int | Sequence[int], select: str, normalize: bool) -> VisionTower:
    """Read a vision tower.

    Args:
      vision: its configuration.
      layers: indices of hidden states, of which 0 is what the first block reads.
      select: default, without the class token, or full.
      normalize: apply the norm after the last block.
    """
    if (kind := vision["model_type"]) not in TOWERS:
        raise ValueError(f"vision_config: model_type={kind!r}: not in dlcore; allowed: {', '.join(TOWERS)}")
    vision = {**DEFAULTS[kind], **vision}
    depth = vision["num_hidden_layers"]
    reads = tuple(i if i >= 0 else depth + 1 + i for i in ([layers] if isinstance(layers, int) else layers))
    if not all(1 <= i <= depth for i in reads):
        raise ValueError(f"vision_feature_layer={layers}: no output of a block; allowed: 1 to {depth}, -1 to {-depth}")
    fields = TOWERS[kind](vision)
    return VisionTower(
        num_classes=0,
        image_size=square_side(vision["image_size"]),
        depth=max(reads),
        width=vision["hidden_size"],
        num_heads=vision["num_attention_heads"],
        mlp_features=vision["intermediate_size"],
        activation=vision["hidden_act"],
        epsilon=vision["layer_norm_eps"],
        last_norm="tokens" if normalize else "none",
        reads=reads,
        skips_class_token=select == "default",
        **fields,
    )


def _fields(
    config: Mapping[str, Any], tower: Any, projector: Mapping[str, Any], tied: bool = False, **more: Any
) -> tuple[str, dict[str, Any]]:
    """Return what a network of the zoo needs; `tied`: what the class takes where the configuration says nothing."""
    text = config["text_config"]
    decoder = decoder_fields(text) | {"tied": config.get("tie_word_embeddings", tied)}
    decoder.pop("logits_scale", None)  # of Cohere's language model alone
    return "llava_1_5_7b", {
        "tower": tower,
        "projector": Projector(decoder["width"], **projector),
        "decoder": Llama(**decoder),
        "image_token": config.get("image_token_id", config.get("image_token_index", more.pop("image_token", None))),
        **more,
    }


def _llava(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    select = config.get("vision_feature_select_strategy", "default")
    tower = _tower(config["vision_config"], config.get("vision_feature_layer", -2), select, False)
    projector = {
        "activation": config.get("projector_hidden_act", "gelu"),
        "use_bias": config.get("multimodal_projector_bias", True),
    }
    tied = config["text_config"].get("tie_word_embeddings", False)
    return _fields(config, tower, projector, tied, image_token=32000)


def _vipllava(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    layers = config.get("vision_feature_layer", config.get("vision_feature_layers", (-2, -5, -8, -11, 6)))
    projector = {
        "norm": "layer",
        "epsilon": config.get("projector_layernorm_eps", 1e-5),
        "activation": config.get("projector_hidden_act", "gelu"),
    }
    return _fields(config, _tower(config["vision_config"], layers, "default", False), projector, image_token=32000)


def _paligemma(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = {k: v for k, v in config["text_config"].items() if k != "use_bidirectional_attention"}
    check_config(config["text_config"], {"use_bidirectional_attention": True}, "dlcore's PaliGemma")
    return _fields(
        {**config, "text_config": text},
        _tower(config["vision_config"], -1, "full", True),
        {"layers": "linear"},
        True,
        bidirectional="prompt",
        image_token=256000,
    )


def _gemma3(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    tower = _tower(config["vision_config"], -1, "full", True)
    patches, side = tower.image_size // tower.patch_size, round(config.get("mm_tokens_per_image", 256) ** 0.5)
    projector = {
        "layers": "linear",
        "pool": patches // side,
        "norm": "zero_centered_rms",
        "epsilon": tower.epsilon,
        "use_bias": False,
    }
    return _fields(config, tower, projector, True, bidirectional="image", image_token=262144)


def _idefics3(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    projector = {"layers": "linear", "shuffle": config.get("scale_factor", 2), "use_bias": False}
    return _fields(config, _tower(config["vision_config"], -1, "full", True), projector, image_token=128257)


def _internvl_chat(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    layer, vision = config.get("vision_feature_layer", -1), config["vision_config"]
    normalize = layer == -1 and not vision.get("use_mean_pooling", True)
    select = config.get("vision_feature_select_strategy", "default")
    projector = {
        "shuffle": round(1 / config.get("downsample_ratio", 0.5)),
        "norm": "layer",
        "activation": config.get("projector_hidden_act", "gelu"),
    }
    return _fields(config, _tower(vision, layer, select, normalize), projector, True, image_token=151667)


def _aya(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    select = config.get("vision_feature_select_strategy", "full")
    tower = _tower(config["vision_config"], config.get("vision_feature_layer", -1), select, False)
    projector = {
        "layers": "swiglu",
        "hidden_features": config.get("alignment_intermediate_size", 0),
        "shuffle": config.get("downsample_factor", 2),
        "norm": "layer",
        "epsilon": config.get("adapter_layer_norm_eps", 1e-6),
    }
    return _fields(config, tower, projector, True, image_token=255036)


def _cohere2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    projector = {
        "layers": "swiglu",
        "hidden_features": config.get("alignment_intermediate_size", 36864),
        "shuffle": config.get("downsample_factor", 2),
    }
    return _fields(config, _tower(config["vision_config"], -1, "full", True), projector, True, image_token=255036)


def _next_token(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Give logits; of `token_type_ids` 0 is a PaliGemma's prompt."""
    images, types = inputs.get("pixel_values"), inputs.get("token_type_ids")
    images = None if images is None else images.reshape(-1, *images.shape[-3:])
    is_prompt = None if types is None else types == 0
    return {"logits": model.apply(variables, inputs["input_ids"], images, is_prompt=is_prompt)}


CHATS: dict[str, Read] = {
    "Llava": _llava,
    "VipLlava": _vipllava,
    "PaliGemma": _paligemma,
    "Gemma3": _gemma3,
    "Idefics3": _idefics3,
    "SmolVLM": _idefics3,
    "InternVL": _internvl_chat,
    "AyaVision": _aya,
    "Cohere2Vision": _cohere2,
}


INPUTS = ("pixel_values", "input_ids", "token_type_ids")


FAMILIES = tuple(
    Family("transformers", (f"{name}ForConditionalGeneration",), read, _next_token, INPUTS, "chat")
    for name, read in CHATS.items()
)
