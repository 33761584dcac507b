"""Backbones of transformers: maps of some stages, with the layer norms that their classes add."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.detection.resnet_d import ResNetD
from dlcore.detection.vitpose import ViTPose
from dlcore.models.feature_maps import NormalizedDINOv3
from dlcore.models.registry import create_model
from dlcore.pretrained.families.detectors import resnet_d_fields, vit_pose_fields
from dlcore.pretrained.family import Family, Read, check_config, read_as, square_side, without_head
from dlcore.vision3d.dpt import NormalizedDINOv2

__all__ = ["FAMILIES"]

WHERE = "dlcore's backbone"


def _stages(config: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """Names of dlcore's maps that `out_features` asks for; the last one where it says nothing."""
    last = len(config["depths"]) if "depths" in config else config["num_hidden_layers"]
    indices = []
    for name in config.get("out_features") or (f"stage{last}",):
        match = re.fullmatch(r"stage([1-9]\d*)", str(name))
        if match is None or int(match[1]) > last:
            raise ValueError(f"out_features={name!r}: no map of {WHERE}; allowed: stage1 to stage{last}")
        indices.append(int(match[1]))
    return tuple(f"{prefix}{i}" for i in indices)


def _maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.apply(variables, inputs["pixel_values"])
    return {f"feature_maps.{i}": maps[stage] for i, stage in enumerate(model.stages)}


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {key: y.reshape(len(y), -1, y.shape[-1]) for key, y in _maps(model, variables, inputs).items()}


def _family(
    architectures: tuple[str, ...], read: Read, prefix: str = "stage", norm: float | None = None, outputs: Any = _maps
) -> Family:
    """Build a family of backbones.

    Args:
      read: configuration -> (name of the network, its fields, or the network itself under "backbone").
      prefix: of the names of dlcore's maps.
      norm: epsilon of the layer norm behind each map; None for none.
    """

    def model(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        name, fields = read(config)
        backbone = fields["backbone"] if "backbone" in fields else create_model(name, **fields)
        return "feature_maps", {"backbone": backbone, "stages": _stages(config, prefix), "norm_epsilon": norm}

    return Family("transformers", architectures, model, outputs, kind="encoder")


def _beit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"add_fpn": False, "reshape_hidden_states": True}, WHERE)
    name, fields = read_as("BeitModel")(config)
    return name, fields | {"pool": "none"}


def _swin(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = read_as("SwinModel")(config)
    return name, fields | {"always_shift": True}


def _bit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = read_as("BitModel")(config)
    return name, fields | {"last_norm": False}


def _focal(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """transformers counts a map behind the convolution that follows its stage, but for the last."""
    name, fields = read_as("FocalNetModel")(config)
    last = len(config["depths"])
    indices = [int(i) for i in _stages(config, "")]
    stages = tuple(f"stage{i}" if i == last else f"patches{i + 1}" for i in indices)
    return "feature_maps", {"backbone": create_model(name, **fields), "stages": stages}


def _hiera(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    square_side(config["image_size"])
    name, fields = read_as("HieraModel")(config)
    return name, fields | {"spread": True}


NORMALIZED = {"apply_layernorm": True, "reshape_hidden_states": True, "return_class_token": False}


def _normalized(architecture: str, kind: Any) -> Read:
    """Read a vision transformer whose maps go through its last norm."""

    def read(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        check_config(config, NORMALIZED, WHERE)
        name, fields = read_as(architecture)(config)
        return name, {"backbone": kind(**fields)}

    return read


def _vit_pose(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"num_experts": 1}, WHERE)
    return "vitpose_base_simple", {"backbone": ViTPose(**vit_pose_fields(config))}


def _resnet_d(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "rt_detr_r50vd", {"backbone": ResNetD(**resnet_d_fields(config))}


DINOV2 = ("Dinov2Backbone", "Dinov2WithRegistersBackbone")


FAMILIES = (
    _family(("ResNetBackbone",), read_as("ResNetModel"), "layer"),
    _family(("ConvNextBackbone",), read_as("ConvNextModel"), norm=1e-6),
    _family(("ConvNextV2Backbone",), read_as("ConvNextV2Model"), norm=1e-6),
    _family(("SwinBackbone", "MaskFormerSwinBackbone"), _swin, norm=1e-5),
    _family(("Swinv2Backbone",), read_as("Swinv2Model")),
    _family(("BeitBackbone",), _beit, "block"),
    _family(DINOV2, _normalized("Dinov2WithRegistersModel", NormalizedDINOv2), "block"),
    _family(("DINOv3ViTBackbone",), _normalized("DINOv3ViTModel", NormalizedDINOv3), "block"),
    _family(("DINOv3ConvNextBackbone",), read_as("DINOv3ConvNextModel")),
    _family(("PvtV2Backbone",), read_as("PvtV2Model")),
    _family(("VitPoseBackbone",), _vit_pose, "block", outputs=_tokens),
    _family(("RTDetrResNetBackbone",), _resnet_d, "layer"),
    _family(("BitBackbone",), _bit),
    Family("transformers", ("FocalNetBackbone",), _focal, _maps, kind="encoder"),
    _family(("HieraBackbone",), _hiera, norm=1e-5),
    _family(("HGNetV2Backbone",), without_head(read_as("HGNetV2ForImageClassification")), "layer"),
)
