"""Vision transformers of transformers and timm: ViT with and without a head, DeiT with and without a second token."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.deit import DeiT
from dlcore.models.torch_weights import load_torch
from dlcore.pretrained.family import Family, check_config, classifier, num_classes_of, timm_arguments, without_head

__all__ = ["FAMILIES", "block_fields", "pooled", "pooler_loader", "timm_fields", "transformer_fields", "two_heads"]


def block_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the blocks of an encoder from one of transformers' configurations.

    Args:
      config: content of config.json.

    Returns:
      {"depth", "width", "num_heads", "mlp_features"}.
    """
    return {
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "mlp_features": config["intermediate_size"],
    }


def transformer_fields(config: Mapping[str, Any], activation: str = "gelu") -> dict[str, Any]:
    """Read the fields of a ViT that most of transformers' configurations name alike.

    Args:
      config: content of config.json.
      activation: of dlcore's network.

    Returns:
      Fields of `dlcore.models.vit.ViT`.
    """
    check_config(config, {"hidden_act": activation}, "dlcore's ViT")
    return {
        "num_classes": len(config["id2label"]) if "id2label" in config else 0,
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        **block_fields(config),
        "epsilon": config["layer_norm_eps"],
    }


def _vit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "vit_b_16", transformer_fields(config)


def _vit_encoder(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "vit_b_16", transformer_fields(config) | {"num_classes": 0}


def pooler_loader(
    load: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any],
) -> Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]:
    """Load transformers' layer behind the class token, `pooler`, beside a network; many files have none.

    Args:
      load: loads the network, see `dlcore.pretrained.family.Family`.

    Returns:
      The loader.
    """

    def load_all(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
        check_config(config, {"pooler_act": "tanh"}, "dlcore's pooler")
        variables = load(model, config, weights)
        layer = {key.rpartition("pooler.dense.")[2]: key for key in weights if "pooler.dense." in key}
        if not layer:
            return variables
        pooler = {"kernel": np.asarray(weights[layer["weight"]]).T, "bias": np.asarray(weights[layer["bias"]])}
        return {**variables, "params": {**variables["params"], "pooler": pooler}}

    return load_all


def pooled(variables: Any, tokens: jax.Array) -> dict[str, jax.Array]:
    """Read the class token as transformers' `pooler` does.

    Args:
      variables: variables of `pooler_loader`.
      tokens: [B, T, width].

    Returns:
      {"last_hidden_state": the tokens, "pooler_output": [B, width]}, the latter where the file has the layer.
    """
    outputs = {"last_hidden_state": tokens}
    if (pooler := variables["params"].get("pooler")) is not None:
        outputs["pooler_output"] = jnp.tanh(tokens[:, 0] @ pooler["kernel"] + pooler["bias"])
    return outputs


@pooler_loader
def _load(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("parent", "name")}
    name = "deit_base_distilled_patch16_224" if isinstance(model, DeiT) else "vit_b_16"
    return load_torch(name, weights, replace_head=model.num_classes > 0, **fields)


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    token, patches = model.apply(variables, inputs["pixel_values"], method="tokens")
    outputs = pooled(variables, jnp.concatenate([token[:, None], patches], 1))
    return outputs | (classifier(model, variables, inputs) if model.num_classes else {})


def _deit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "deit_base_distilled_patch16_224", transformer_fields(config)


def two_heads(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run a classifier that was distilled, whose logits are the mean of two heads'.

    Args:
      model: the flax module, with a method `auxiliary`.
      variables: its variables.
      inputs: the image batch under any name.

    Returns:
      {"logits", "cls_logits", "distillation_logits": [B, num_classes]}; with num_classes=0 see `classifier`.
    """
    if model.num_classes == 0:
        return classifier(model, variables, inputs)
    (images,) = inputs.values()
    logits, other = model.apply(variables, images, train=False, method="auxiliary")
    distillation = other["distillation"]
    return {"logits": (logits + distillation) / 2, "cls_logits": logits, "distillation_logits": distillation}


def _deit_tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = pooled(variables, model.apply(variables, inputs["pixel_values"], method="all_tokens"))
    return outputs | (classifier(model, variables, inputs) if model.num_classes else {})


def _deit_one_head(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _deit(config)
    return name, fields | {"second_head": False}


TIMM_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, blocks and heads in timm's names."""


TIMM_KINDS = tuple(f"patch{patch}_{side}" for patch in (8, 16, 32) for side in (224, 384))


TIMM_ARGUMENTS = ("embed_dim", "img_size", "patch_size", "depth", "num_heads", "mlp_ratio")


def timm_fields(config: Mapping[str, Any], pool: str = "token") -> dict[str, Any]:
    """Read the fields of one of timm's ViTs: its name says the size, its arguments replace what they name.

    Args:
      config: content of config.json.
      pool: what the head of dlcore's network reads, by timm's name: token, or avg.

    Returns:
      Fields of `dlcore.models.vit.ViT`.
    """
    size, patch = re.search(r"_(tiny|small|base|large)_(?:distilled_)?patch(\d+)", config["architecture"]).groups()
    arguments = timm_arguments(config, TIMM_ARGUMENTS, {"in_chans": 3, "global_pool": pool})
    published = config.get("pretrained_cfg", {})
    width, depth, heads = TIMM_SIZES[size]
    width = arguments.get("embed_dim", width)
    image_size = arguments.get("img_size", published.get("input_size", [3, 224, 224])[-1])
    return {
        "num_classes": num_classes_of(config),
        "image_size": image_size if isinstance(image_size, int) else image_size[-1],
        "patch_size": arguments.get("patch_size", int(patch)),
        "depth": arguments.get("depth", depth),
        "width": width,
        "num_heads": arguments.get("num_heads", heads),
        "mlp_features": int(width * arguments.get("mlp_ratio", 4)),
    }


def _timm_vit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "vit_b_16", timm_fields(config)


def _timm_deit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = "deit_base_distilled_patch16_224" if "distilled" in config["architecture"] else "deit_base_patch16_224"
    return name, timm_fields(config)


FAMILIES = (
    Family("transformers", ("ViTForImageClassification", "ViTMSNForImageClassification"), _vit, classifier),
    Family("transformers", ("ViTModel", "ViTMSNModel"), _vit_encoder, _tokens, load=_load),
    Family("transformers", ("DeiTForImageClassificationWithTeacher",), _deit, two_heads),
    Family("transformers", ("DeiTForImageClassification",), _deit_one_head, classifier),
    Family("transformers", ("DeiTModel",), without_head(_deit), _deit_tokens, load=_load),
    Family(
        "timm", tuple(f"vit_{size}_{kind}" for size in TIMM_SIZES for kind in TIMM_KINDS), _timm_vit, classifier, ("x",)
    ),
    Family("timm", ("deit_*_patch16_*",), _timm_deit, classifier, ("x",)),
)
