"""Vision-language models of transformers: LLaVA, PaliGemma, Gemma 3, Idefics3, SmolVLM, InternVL and relatives."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.got_tower import GotTower
from dlcore.models.llama import Llama
from dlcore.models.vision_language import TiledImages
from dlcore.models.vision_tower import PixtralTower, Projector, VisionTower
from dlcore.models.vitdet import ViTDet
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.families.decoders import decoder_fields
from dlcore.pretrained.family import Family, Read, check_config, find_family, square_side
from dlcore.pretrained.image_tiles import best_resolution, feature_layout

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


def _pixtral(vision: Mapping[str, Any]) -> dict[str, Any]:
    rope = vision.get("rope_parameters") or {}
    if (kind := rope.get("rope_type", "axial")) not in ("axial", "default"):
        raise ValueError(f"rope_type={kind!r}: not in dlcore's Pixtral; allowed: axial, default")
    check_config(vision, {"head_dim": vision["hidden_size"] // vision["num_attention_heads"]}, "dlcore's Pixtral")
    return {"patch_size": vision["patch_size"], "rotary_period": rope.get("rope_theta", vision.get("rope_theta", 1e4))}


TOWERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "clip_vision_model": _clip,
    "siglip_vision_model": _siglip,
    **dict.fromkeys(("idefics3", "idefics3_vision", "smolvlm", "smolvlm_vision"), _siglip),
    "internvl_vision": _internvl,
    "qianfan_ocr_vision": _internvl,
    "pixtral": _pixtral,
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
    if select not in ("default", "full"):
        raise ValueError(f"vision_feature_select_strategy={select!r}: unknown; allowed: default, full")
    vision = {**DEFAULTS[kind], **vision}
    depth = vision["num_hidden_layers"]
    reads = tuple(i if i >= 0 else depth + 1 + i for i in ([layers] if isinstance(layers, int) else layers))
    if not all(1 <= i <= depth for i in reads):
        raise ValueError(f"vision_feature_layer={layers}: no output of a block; allowed: 1 to {depth}, -1 to {-depth}")
    fields = TOWERS[kind](vision)
    tower = PixtralTower if kind == "pixtral" else VisionTower
    fields |= {} if kind == "pixtral" else {"last_norm": "tokens" if normalize else "none"}
    return tower(
        num_classes=0,
        image_size=square_side(vision["image_size"]) // fields["patch_size"] * fields["patch_size"],
        depth=max(reads),
        width=vision["hidden_size"],
        num_heads=vision["num_attention_heads"],
        mlp_features=vision["intermediate_size"],
        activation=vision["hidden_act"],
        epsilon=vision["layer_norm_eps"],
        reads=reads,
        skips_first_token=select == "default",
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


def _llava_next(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _llava(config)
    return name, fields | {"newline": True}


def _onevision(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    defaults = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full", "image_token_index": 151646}
    return _llava_next({**defaults, **config})


def _mistral3(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    tower = _tower(config["vision_config"], config.get("vision_feature_layer", -1), "full", False)
    projector = {
        "merge": True,
        "shuffle": config.get("spatial_merge_size", 2),
        "norm": "rms",
        "epsilon": config["text_config"].get("rms_norm_eps", 1e-6),
        "activation": config.get("projector_hidden_act", "gelu"),
        "use_bias": config.get("multimodal_projector_bias", False),
    }
    return _fields(config, tower, projector, True, image_token=10)


def _lighton(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed = {"vision_feature_layer": -1, "projector_hidden_act": "gelu", "multimodal_projector_bias": False}
    check_config(config, fixed, "dlcore's LightOnOCR")
    return _mistral3({"image_token_id": 151655, **config})


def _deepseek(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return _fields(config, _tower(config["vision_config"], -1, "full", True), {}, True, image_token=100015)


def _perception(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = config["vision_config"]
    if not str(architecture := vision["architecture"]).startswith("vit_pe_"):
        raise ValueError(f"architecture={architecture!r}: not in dlcore's PerceptionLM; allowed: vit_pe_*")
    # All tokens are read, so the pool does not matter; this one leaves the norm of all tokens in.
    arguments = {**(vision.get("model_args") or {}), "global_pool": "token"}
    encoder = {"architecture": architecture, "num_classes": 0, "model_args": arguments}
    _, fields = find_family(encoder).model(encoder)
    fields |= {"pool": "mean", "reads": (fields["depth"],)}
    tower = VisionTower(**fields, skips_first_token=config.get("vision_use_cls_token", True))
    projector = {"pool": config.get("projector_pooling_ratio", 1), "pool_first": False}
    tied = config.get("tie_word_embeddings")
    tied = config["text_config"].get("tie_word_embeddings", False) if tied is None else tied
    return _fields({**config, "tie_word_embeddings": tied}, tower, projector, image_token=128002)


GOT = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "use_abs_pos": True}


def _got(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = config["vision_config"]
    check_config(vision, GOT, "dlcore's GOT-OCR 2.0")
    size = square_side(vision.get("image_size", 1024))
    encoder = ViTDet(
        num_classes=0,
        image_size=size,
        pretrain_size=size,
        patch_size=square_side(vision.get("patch_size", 16)),
        depth=vision.get("num_hidden_layers", 12),
        width=vision.get("hidden_size", 768),
        num_heads=vision.get("num_attention_heads", 12),
        mlp_features=vision.get("mlp_dim", 3072),
        window_size=vision.get("window_size", 14),
        global_blocks=tuple(vision.get("global_attn_indexes", (2, 5, 8, 11))),
        relative_positions=vision.get("use_rel_pos", True),
        drop_path=0.0,
    )
    width = decoder_fields(config["text_config"])["width"]
    tower = GotTower(encoder, vision.get("output_channels", 256), width)
    return _fields(config, tower, {"layers": "linear"}, True, image_token=151859)


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
    patches, count = tower.image_size // tower.patch_size, config.get("mm_tokens_per_image", 256)
    if (side := round(count**0.5)) > patches:
        raise ValueError(
            f"mm_tokens_per_image={count}: too many; allowed: at most the {patches**2} patches of an image"
        )
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


def _qianfan(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {"attention_bias": True, **config["vision_config"]}
    return _internvl_chat({"tie_word_embeddings": False, **config, "vision_config": vision})


def _shield(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    tied = config.get("tie_word_embeddings") or config["text_config"].get("tie_word_embeddings", True)
    return _gemma3({**config, "tie_word_embeddings": tied})


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


PIXELS = ("pixel_values", "image_sizes")


def _prepare(config: Mapping[str, Any], inputs: dict[str, jax.Array]) -> dict[str, Any]:
    """Lay images out; those of a Pixtral fill their arrays."""
    words = {name: value for name, value in inputs.items() if name not in PIXELS}
    if "pixel_values" not in inputs:
        return words
    pixels = inputs["pixel_values"]
    if config["architectures"][0].startswith(TILED):
        return words | {"images": _tiles(config, pixels, np.asarray(inputs["image_sizes"]))}
    images = pixels.reshape(-1, *pixels.shape[-3:])
    sizes = np.asarray(inputs.get("image_sizes", [images.shape[1:3]]))
    if (sizes != images.shape[1:3]).any():
        raise ValueError(f"image_sizes={sizes.tolist()}: images are padded; allowed: of one size, {images.shape[1:3]}")
    return words | {"images": images}


def _tiles(config: Mapping[str, Any], pixels: jax.Array, sizes: np.ndarray) -> TiledImages:
    vision = {**DEFAULTS[config["vision_config"]["model_type"]], **config["vision_config"]}
    side, grid = vision["image_size"], vision["image_size"] // vision["patch_size"]
    most, resolutions = None, config.get("image_grid_pinpoints")
    if config["architectures"][0].startswith("LlavaOnevision"):
        most = int(config.get("vision_aspect_ratio", "anyres_max_9").removeprefix("anyres_max_"))
        resolutions = resolutions or [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)]
    resolutions = resolutions or [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    counts = [1 + math.prod(n // side for n in best_resolution(*size, resolutions)) for size in sizes.tolist()]
    tiles = jnp.concatenate([image[:n] for image, n in zip(pixels, counts, strict=True)])
    firsts = np.cumsum([0, *counts]) * grid**2
    layouts = [
        feature_layout((height, width), resolutions, side, grid, most, first, int(firsts[-1]))
        for (height, width), first in zip(sizes.tolist(), firsts[:-1].tolist(), strict=True)
    ]
    index, weights = (np.concatenate([layout[i] for layout in layouts]) for i in (0, 1))
    return TiledImages(tiles, jnp.asarray(index), jnp.asarray(weights))


def _next_token(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Give logits; of `token_type_ids` 0 is a PaliGemma's prompt."""
    types = inputs.get("token_type_ids")
    is_prompt = None if types is None else types == 0
    return {"logits": model.apply(variables, inputs["input_ids"], inputs.get("images"), is_prompt=is_prompt)}


def _policy(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Give logits of the answers yes and no, and their probabilities."""
    logits = _next_token(model, variables, inputs)["logits"][:, -1, inputs["yes_no"]]
    return {"logits": logits, "probabilities": jax.nn.softmax(logits)}


def _prepare_policy(config: Mapping[str, Any], inputs: dict[str, jax.Array]) -> dict[str, Any]:
    token_ids = [config.get("yes_token_index", 10_784), config.get("no_token_index", 3771)]
    return _prepare(config, inputs) | {"yes_no": jnp.array(token_ids)}


def _last_states(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    states = model.apply(variables, inputs["input_ids"], inputs.get("images"), method="hidden_states")
    return {"last_hidden_state": states}


TILED = ("LlavaNext", "LlavaOnevision")
"""Starts of the names of classes whose large images come in tiles."""


CHATS: dict[str, Read] = {
    "Llava": _llava,
    "LlavaNext": _llava_next,
    "LlavaNextVideo": lambda config: _llava_next({"image_token_index": 32001, **config}),
    "LlavaOnevision": _onevision,
    "VipLlava": _vipllava,
    "PaliGemma": _paligemma,
    "Gemma3": _gemma3,
    "Idefics3": _idefics3,
    "SmolVLM": _idefics3,
    "InternVL": _internvl_chat,
    "QianfanOCR": _qianfan,
    "AyaVision": _aya,
    "Cohere2Vision": _cohere2,
    "Mistral3": _mistral3,
    "LightOnOcr": _lighton,
    "DeepseekVL": _deepseek,
    "GotOcr2": _got,
    "PerceptionLM": _perception,
}


INPUTS = ("pixel_values", "input_ids", "token_type_ids", "image_sizes")


FAMILIES = (
    *(
        Family(
            "transformers", (f"{name}ForConditionalGeneration",), read, _next_token, INPUTS, "chat", prepare=_prepare
        )
        for name, read in CHATS.items()
    ),
    Family("transformers", ("Cohere2VisionModel",), _cohere2, _last_states, INPUTS, "chat", prepare=_prepare),
    Family(
        *("transformers", ("ShieldGemma2ForImageClassification",), _shield, _policy, INPUTS, "chat"),
        prepare=_prepare_policy,
    ),
)
