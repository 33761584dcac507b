"""Networks of timm within transformers: classifiers, base models and backbones."""

import re
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from dlcore.learner import root_key
from dlcore.models.feature_maps import from_torch_names
from dlcore.models.registry import create_model, example_inputs
from dlcore.models.torch_weights import load_torch
from dlcore.models.vit import ViT
from dlcore.pretrained.family import Family, check_config, classifier, find_family

__all__ = ["FAMILIES"]


def _of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the configuration as timm does."""
    inner = {key: value for key, value in config.items() if key != "architectures"}
    if not config["architectures"][0].endswith("Classification"):
        inner["num_classes"] = 0
    elif "num_classes" not in config and (names := config.get("label_names") or config.get("id2label")):
        inner["num_classes"] = len(names)
    return inner


def _wrapped(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"do_pooling": True}, "dlcore's networks of timm")
    inner = _of_timm(config)
    return find_family(inner).model(inner)


def _load(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    inner, entries = _of_timm(config), {re.sub(r"^timm_model\.", "", key): value for key, value in weights.items()}
    family = find_family(inner)
    if family.load is not None:
        return family.load(model, inner, entries)
    name, fields = family.model(inner)
    new_head = model.num_classes != fields["num_classes"]
    fields = {key: getattr(model, key, value) for key, value in fields.items()}
    return load_torch(name, entries, replace_head=new_head, **fields)


def _base(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return what a head would see, and before it the last map, or the tokens of a ViT that has a class token alone."""
    images, outputs = inputs["pixel_values"], classifier(model, variables, inputs)
    if not isinstance(model, ViT):
        return outputs | {"last_hidden_state": list(model.apply(variables, images, method="features").values())[-1]}
    if model.pool != "token" or model.num_registers:
        return outputs
    token, patches = cast(Any, model.apply)(variables, images, method="tokens")
    return outputs | {"last_hidden_state": jnp.concatenate([token[:, None], patches], 1)}


BACKBONE = {"features_only": True, "num_channels": 3, "output_stride": None}
"""Values that dlcore's network has. Frozen batch norms compute what others do, and `out_features` is `out_indices`."""


def _backbone(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, BACKBONE, "dlcore's backbones of timm")
    inner = {"architecture": config["backbone"], "num_classes": 0}
    name, fields = find_family(inner).model(inner)
    backbone, inputs = create_model(name, **fields), example_inputs(name, fields)

    def sides(image: jax.Array) -> None:
        maps = cast(Any, backbone.apply)(backbone.init(root_key(0), image), image, method="features")
        by_side.update({y.shape[1]: stage for stage, y in maps.items() if stage != "last"})

    by_side: dict[int, str] = {}  # timm lists the last map of each stride
    jax.eval_shape(sides, *(jnp.zeros(x.shape, x.dtype) for x in inputs))
    last, indices = list(by_side.values()), config.get("out_indices") or [-1]
    if any(i not in range(-len(last), len(last)) for i in indices):
        raise ValueError(f"out_indices={indices}: no maps of {name}; allowed: {-len(last)} to {len(last) - 1}")
    indices = [i % len(last) for i in indices]
    return "feature_maps", {
        "backbone": _without_stages(backbone, len(last) - 1 - max(indices)),
        "stages": tuple(last[i] for i in indices),
    }


def _without_stages(backbone: Any, count: int) -> Any:
    """Leave the last stages out, which files lack where nobody asks for their maps."""
    number = len(getattr(backbone, "stages", ()))
    fields = {name: getattr(backbone, name) for name in type(backbone).__dataclass_fields__}
    per_stage = {name: x[: number - count] for name, x in fields.items() if isinstance(x, tuple) and len(x) == number}
    return backbone.clone(**per_stage) if 0 < count < number else backbone


def _maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.apply(variables, inputs["pixel_values"])
    return {f"feature_maps.{i}": maps[stage] for i, stage in enumerate(model.stages)}


def _load_maps(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    """timm joins the names of a list and of its items by "_" where it makes a network a list of maps."""
    entries = {re.sub(r"^_backbone\.", "", key): value for key, value in weights.items()}
    return from_torch_names(
        model, {re.sub(r"^(stem|stages)_(\d+)\.", r"\1.\2.", key): value for key, value in entries.items()}
    )


FAMILIES = (
    Family("transformers", ("TimmWrapperForImageClassification",), _wrapped, classifier, load=_load),
    Family("transformers", ("TimmWrapperModel",), _wrapped, _base, load=_load),
    Family("transformers", ("TimmBackbone",), _backbone, _maps, kind="encoder", load=_load_maps),
)
