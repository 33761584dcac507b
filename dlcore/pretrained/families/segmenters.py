"""Segmenters of transformers: SegFormer, DPT, and UPerNet on a ConvNeXt, a Swin or a BEiT."""

from collections.abc import Mapping
from typing import Any

from dlcore.choices import check_choice
from dlcore.models.beit import BEiT
from dlcore.models.convnext import ConvNeXt
from dlcore.models.mit import MiT
from dlcore.pretrained.families.stages import mit_fields
from dlcore.pretrained.families.swin import swin_backbone
from dlcore.pretrained.family import Family, check_config, read_as
from dlcore.segmentation.upernet import BEiTPyramid

__all__ = ["FAMILIES"]


def _segformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "segformer_b0", {
        "backbone": MiT(num_classes=0, **mit_fields(config)),
        "num_classes": len(config["id2label"]),
        "features": config.get("decoder_hidden_size", 256),
        "dropout": config.get("classifier_dropout_prob", 0.1),
    }


def _scores(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"], method="scores")}


HEAD = {"auxiliary_num_convs": 1, "auxiliary_concat_input": False}


def _upernet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    backbone = config["backbone_config"]
    check_config(config, HEAD, "dlcore's UPerNet")
    check_choice("backbone_config.model_type", backbone.get("model_type"), ("convnext", "swin"))
    if backbone["model_type"] == "swin":
        encoder, epsilon = swin_backbone(backbone), 1e-5
    else:
        check_config(backbone, {"patch_size": 4, "hidden_act": "gelu"}, "dlcore's UPerNet")
        encoder = ConvNeXt(num_classes=0, stages=tuple(backbone["depths"]), widths=tuple(backbone["hidden_sizes"]))
        epsilon = 1e-6
    stages = tuple(backbone["out_features"])
    aux = config.get("use_auxiliary_head", True)
    return "upernet_convnext_tiny", {
        "backbone": encoder,
        "num_classes": len(config["id2label"]),
        "stages": stages,
        "features": config["hidden_size"],
        "bins": tuple(config["pool_scales"]),
        "aux_stage": stages[2] if aux else None,
        "aux_features": config["auxiliary_channels"],
        "norm_epsilon": epsilon,
    }


def _logits(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"])["out"]}


def _beit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, HEAD, "dlcore's UPerNet")
    indices = config["out_indices"]  # transformers counts the embedded patches as the first map
    if len(indices) != 4 or min(indices) < 2:
        raise ValueError(f"out_indices={indices}: not in dlcore's UPerNet; allowed: four of 2 to num_hidden_layers + 1")
    _, fields = read_as("BeitModel")(config)
    encoder = BEiT(**{**fields, "pool": "none"})
    return "upernet_beit_base", {
        "backbone": BEiTPyramid(encoder, tuple(f"block{i - 1}" for i in indices)),
        "num_classes": len(config["id2label"]),
        "features": config["hidden_size"],
        "bins": tuple(config["pool_scales"]),
        "aux_stage": "stage3" if config.get("use_auxiliary_head", True) else None,
        "aux_features": config["auxiliary_channels"],
    }


def _map_logits(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"], method="scores")["out"]}


def _dpt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = read_as("DPTForDepthEstimation")(config)
    dropout = config.get("semantic_classifier_dropout", 0.1)
    return "dpt_large_ade", fields | {"num_classes": len(config["id2label"]), "dropout": dropout}


BEIT = ("BeitForSemanticSegmentation", "Data2VecVisionForSemanticSegmentation")


FAMILIES = (
    Family("transformers", BEIT, _beit, _map_logits, kind="segmentation"),
    Family("transformers", ("DPTForSemanticSegmentation",), _dpt, _scores, kind="segmentation"),
    Family("transformers", ("UperNetForSemanticSegmentation",), _upernet, _logits, kind="segmentation"),
    Family("transformers", ("SegformerForSemanticSegmentation",), _segformer, _scores, kind="segmentation"),
)
