"""ALIGN of transformers: images by an EfficientNet and texts by a BERT, in one space."""

from collections.abc import Mapping
from typing import Any

import jax

from dlcore.models import bert
from dlcore.models.align import ALIGN, example_inputs
from dlcore.models.efficientnet import EfficientNet
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.models.torch_weights import fill_from_torch
from dlcore.pretrained.families.efficientnet import torchvision_names
from dlcore.pretrained.families.two_towers import INPUTS, pairs, text_tower
from dlcore.pretrained.family import Family, check_config, read_as

__all__ = ["FAMILIES"]

TEXT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
"""What transformers takes where the text's configuration leaves a field out."""


def _align(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {name: value for name, value in config["vision_config"].items() if name != "hidden_dim"}
    fields = read_as("EfficientNetModel")(vision)[1]
    image = EfficientNet(**fields | {"last_channel": None, "last_conv": False})
    size = round_channels(image.settings[-1].features * image.width_mult)
    check_config(config, {"projection_dim": size}, "dlcore's ALIGN, whose image has that many channels")
    text = text_tower(TEXT | config["text_config"])
    return "align_base", {"image": image, "text": text.clone(head="none"), "embedding_size": size}


def _load(model: ALIGN, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    names = {f"vision_model.{name}": f"image.{other}" for name, other in torchvision_names(model.image).items()}
    renamed = {}
    for key, value in arrays.items():
        layer, dot, entry = key.rpartition(".")
        renamed[f"{names.get(layer, layer)}{dot}{entry}"] = value
    rules = ((r"^text_head\.", "text_projection."), (r"^text\.", ""), *bert.TORCH_NAMES)
    older = ((r"^text_model\.", ""), *bert.TORCH_OLD_NAMES)
    optional = rf"^pooler\.|{bert.TORCH_IGNORED}|token_type_ids$"
    return fill_from_torch(shapes, renamed, rules, what="ALIGN", older=older, optional=optional)


FAMILIES = (Family("transformers", ("AlignModel",), _align, pairs, INPUTS, "pairs", _load),)
