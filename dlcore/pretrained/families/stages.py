"""Networks of transformers whose stages halve the map: PVT, PVT v2, MiT (SegFormer's encoder), MobileViT and Hiera."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier, map_encoder, square_side

__all__ = ["FAMILIES", "mit_fields"]

NETWORK = "dlcore's network"


PVT_V2 = {
    "patch_sizes": [7, 3, 3, 3],
    "strides": [4, 2, 2, 2],
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
}


PVT = {"num_channels": 3, "num_encoder_blocks": 4, "hidden_act": "gelu"}


MIT = {"num_encoder_blocks": 4, "patch_sizes": [7, 3, 3, 3], "strides": [4, 2, 2, 2], "hidden_act": "gelu"}


MOBILEVIT = {"hidden_act": "silu", "conv_kernel_size": 3, "layer_norm_eps": 1e-5, "qkv_bias": True}


MOBILEVIT_V2 = {"num_channels": 3, "hidden_act": "swish", "conv_kernel_size": 3}


HIERA = {
    "patch_size": [7, 7],
    "patch_stride": [4, 4],
    "patch_padding": [3, 3],
    "query_stride": [2, 2],
    "num_query_pool": 3,
    "embed_dim_multiplier": 2.0,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}


def _classes(config: Mapping[str, Any], ending: str = "ForImageClassification") -> int:
    """Number of classes; 0 of an encoder."""
    architecture = (config.get("architectures") or [""])[0]
    return len(config["id2label"]) if architecture.endswith(ending) else 0


def _pvt_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, PVT_V2, NETWORK)
    return "pvt_v2_b0", {
        "num_classes": _classes(config),
        "stages": tuple(config["depths"]),
        "widths": tuple(config["hidden_sizes"]),
        "num_heads": tuple(config["num_attention_heads"]),
        "reductions": tuple(config["sr_ratios"]),
        "mlp_ratios": tuple(config["mlp_ratios"]),
        "linear": config.get("linear_attention", False),
        "drop_path": config.get("drop_path_rate", 0.0),
    }


def _pvt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    patches = config.get("patch_sizes", (4, 2, 2, 2))
    check_config(config, PVT | {"strides": list(patches)}, NETWORK)
    labels = config.get("id2label") or range(config.get("num_labels", 1000))  # the class writes either
    return "pvt_tiny", {
        "num_classes": _classes({**config, "id2label": labels}),
        "image_size": square_side(config.get("image_size", 224)),
        "stages": tuple(config.get("depths", (2, 2, 2, 2))),
        "widths": tuple(config.get("hidden_sizes", (64, 128, 320, 512))),
        "num_heads": tuple(config.get("num_attention_heads", (1, 2, 5, 8))),
        "reductions": tuple(config.get("sequence_reduction_ratios", (8, 4, 2, 1))),
        "mlp_ratios": tuple(config.get("mlp_ratios", (8, 8, 4, 4))),
        "patch_sizes": tuple(patches),
        "qkv_bias": "qkv" if config.get("qkv_bias", True) else "none",
        "dropout": config.get("hidden_dropout_prob", 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.0),
        "drop_path": config.get("drop_path_rate", 0.0),
        "epsilon": config.get("layer_norm_eps", 1e-6),
    }


def mit_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a MiT from a configuration of SegFormer or GLPN.

    Args:
      config: content of config.json.

    Returns:
      Fields of `dlcore.models.mit.MiT`, without `num_classes`.
    """
    check_config(config, MIT, NETWORK)
    return {
        "stages": tuple(config.get("depths", (2, 2, 2, 2))),
        "widths": tuple(config.get("hidden_sizes", (32, 64, 160, 256))),
        "num_heads": tuple(config.get("num_attention_heads", (1, 2, 5, 8))),
        "reductions": tuple(config.get("sr_ratios", (8, 4, 2, 1))),
        "mlp_ratios": tuple(config.get("mlp_ratios", (4, 4, 4, 4))),
        "dropout": config.get("hidden_dropout_prob", 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.0),
        "drop_path": config.get("drop_path_rate", 0.1),
    }


def _mit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "mit_b0", mit_fields(config) | {"num_classes": _classes(config)}


def _mobilevit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, MOBILEVIT, NETWORK)
    return "mobilevit_s", {
        "num_classes": _classes(config),
        "widths": tuple(config["neck_hidden_sizes"]),
        "hidden_sizes": tuple(config["hidden_sizes"]),
        "num_heads": config["num_attention_heads"],
        "mlp_ratio": config["mlp_ratio"],
        "expansion": int(config.get("expand_ratio", 4)),
        "patch_size": config.get("patch_size", 2),
        "output_stride": config.get("output_stride", 32),
    }


def _mobilevit_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, MOBILEVIT_V2, NETWORK)
    expansion = config.get("expand_ratio", 2.0)
    check_config(config, {"expand_ratio": max(2, int(expansion))}, NETWORK)
    return "mobilevitv2_100", {
        "num_classes": _classes(config),
        "width_mult": config.get("width_multiplier", 1.0),
        "hidden_sizes": tuple(config.get("base_attn_unit_dims", (128, 192, 256))),
        "depths": tuple(config.get("n_attn_blocks", (2, 4, 3))),
        "mlp_ratio": config.get("ffn_multiplier", 2),
        "expansion": int(expansion),
        "patch_size": square_side(config.get("patch_size", 2)),
        "dropout": config.get("ffn_dropout", 0.0),
        "attention_dropout": config.get("attn_dropout", 0.0),
        "epsilon": config.get("layer_norm_eps", 1e-5),
        "output_stride": config.get("output_stride", 32),
    }


def _hiera(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, HIERA, NETWORK)
    return "hiera_tiny_224", {
        "num_classes": _classes(config),
        "image_size": config["image_size"][0],
        "stages": tuple(config["depths"]),
        "width": config["embed_dim"],
        "num_heads": tuple(config["num_heads"]),
        "unit": config["masked_unit_size"][0],
        "in_units": tuple(config["masked_unit_attention"]),
        "mlp_ratio": config["mlp_ratio"],
    }


def _map(stage: str) -> Any:
    def outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        (images,) = inputs.values()
        return {"last_hidden_state": model.apply(variables, images, method="features")[stage]}

    return outputs


def _pvt_tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    return {"last_hidden_state": model.apply(variables, images, method="tokens")}


def _hiera_tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = map_encoder(model, variables, inputs)
    x = outputs["last_hidden_state"]
    return outputs | {"last_hidden_state": x.reshape(len(x), -1, x.shape[-1])}


FAMILIES = (
    Family("transformers", ("PvtForImageClassification",), _pvt, classifier),
    Family("transformers", ("PvtModel",), _pvt, _pvt_tokens),
    Family("transformers", ("PvtV2ForImageClassification",), _pvt_v2, classifier),
    Family("transformers", ("PvtV2Model",), _pvt_v2, _map("stage4")),
    Family("transformers", ("SegformerForImageClassification",), _mit, classifier),
    Family("transformers", ("SegformerModel", "GLPNModel"), _mit, _map("stage4")),
    Family("transformers", ("MobileViTForImageClassification",), _mobilevit, classifier),
    Family("transformers", ("MobileViTModel",), _mobilevit, _map("last")),
    Family("transformers", ("MobileViTV2ForImageClassification",), _mobilevit_v2, classifier),
    Family("transformers", ("MobileViTV2Model",), _mobilevit_v2, map_encoder),
    Family("transformers", ("HieraForImageClassification",), _hiera, classifier),
    Family("transformers", ("HieraModel",), _hiera, _hiera_tokens),
)
