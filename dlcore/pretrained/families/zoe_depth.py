"""ZoeDepth of transformers, a network of metric depth on a BEiT."""

from collections.abc import Mapping
from typing import Any

from dlcore.choices import check_choice
from dlcore.pretrained.family import Family, check_config, read_as
from dlcore.vision3d.metric_bins import Domain
from dlcore.vision3d.zoe_depth import ClassTokenBEiT

__all__ = ["FAMILIES"]

WHERE = "dlcore's ZoeDepth"


FIXED = {
    "add_projection": False,
    "backbone": None,
    "head_in_index": -1,
    "hidden_act": "gelu",
    "readout_type": "project",  # with ignore and add, transformers' own network fails
    "use_batch_norm_in_fusion_residual": False,
}


BEIT: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
BEIT |= {"intermediate_size": 3072, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "reshape_hidden_states": True}


BEIT_LARGE: dict[str, Any] = BEIT | {
    "image_size": 384,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
BEIT_LARGE |= {"intermediate_size": 4096, "use_relative_position_bias": True, "reshape_hidden_states": False}
BEIT_LARGE |= {"out_features": ["stage6", "stage12", "stage18", "stage24"]}


BINS = [{"n_bins": 64, "min_depth": 0.001, "max_depth": 10.0}]


def _backbone(config: Mapping[str, Any]) -> dict[str, Any]:
    backbone: dict[str, Any] = (
        BEIT_LARGE if config.get("backbone_config") is None else {**BEIT, **config["backbone_config"]}
    )
    check_config(backbone, {"model_type": "beit", "add_fpn": False, "num_channels": 3}, WHERE)
    check_config(backbone, {"reshape_hidden_states": False}, WHERE)
    fields: dict[str, Any] = read_as("BeitModel")(backbone)[1] | {"pool": "none"}
    stages = tuple(name.replace("stage", "block") for name in backbone["out_features"])
    return {"backbone": ClassTokenBEiT(**fields), "stages": stages}


def _zoe_depth(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, WHERE)
    check_choice("use_bias_in_fusion_residual", config.get("use_bias_in_fusion_residual"), (None, True))
    features = config.get("fusion_hidden_size", 256)
    check_choice("bottleneck_features", config.get("bottleneck_features", 256), (features,))
    centers = config.get("bin_centers_type", "softplus")
    check_choice("bin_centers_type", centers, ("softplus", "normed"))
    bins = config.get("bin_configurations") or BINS
    check_choice("number of bin_configurations", len(bins), (1, 2))
    attractors = tuple(config.get("num_attractors", (16, 8, 4, 1)))
    router = {}
    if len(bins) == 2:
        check_config(config, {"num_patch_transformer_layers": 4, "patch_transformer_hidden_size": 128}, WHERE)
        attractors = (16,) * len(attractors)  # transformers reads how many levels there are, not how many attractors
        router["router_heads"] = config["patch_transformer_num_attention_heads"]
        router["router_features"] = config["patch_transformer_intermediate_size"]
    return "zoe_depth", _backbone(config) | router | {
        "channels": tuple(config.get("neck_hidden_sizes", (96, 192, 384, 768))),
        "factors": tuple(config.get("reassemble_factors", (4, 2, 1, 0.5))),
        "features": features,
        "head_features": config.get("num_relative_features", 32),
        "domains": tuple(Domain(b["n_bins"], b["min_depth"], b["max_depth"], b.get("name", "")) for b in bins),
        "attractors": attractors,
        "embedding_features": config.get("bin_embedding_dim", 128),
        "attraction": config.get("attractor_kind", "mean"),
        "normed": centers == "normed",
        "temperatures": (config.get("min_temp", 0.0212), config.get("max_temp", 50.0)),
    }


def _outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return model.apply(variables, inputs["pixel_values"], method="depth_and_domains")


FAMILIES = (Family("transformers", ("ZoeDepthForDepthEstimation",), _zoe_depth, _outputs, kind="depth"),)
