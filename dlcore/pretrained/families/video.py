"""Classifiers and encoders of clips of transformers: TimeSformer, ViViT, VideoMAE and V-JEPA 2."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.mae import MAE, from_torch_names
from dlcore.models.vjepa2 import ClipEncoder
from dlcore.pretrained.families.dinov2 import encoder
from dlcore.pretrained.families.vit import block_fields
from dlcore.pretrained.family import Family, check_config, classifier

__all__ = ["FAMILIES"]

TIMESFORMER = {"attention_type": "divided_space_time", "hidden_act": "gelu", "qkv_bias": True, "layer_norm_eps": 1e-6}


VIVIT = {"hidden_act": "gelu_fast", "qkv_bias": True, "layer_norm_eps": 1e-6}


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    is_classifier = config["architectures"][0].endswith("ForVideoClassification")
    return {
        "num_classes": len(config["id2label"]) if is_classifier else 0,
        "frames": config["num_frames"],
        "image_size": config["image_size"],
        **block_fields(config),
    }


def _timesformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, TIMESFORMER, "dlcore's TimeSformer")
    return "timesformer_base", _fields(config) | {
        "patch_size": config["patch_size"],
        "drop_path": config.get("drop_path_rate", 0.0),
    }


def _vivit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, VIVIT, "dlcore's ViViT")
    fields = _fields(config)
    return "vivit_b_16x2", fields | {"tubelet": tuple(config["tubelet_size"]), "pooler": fields["num_classes"] == 0}


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values"], method="tokens")}


def _video_mae(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"hidden_act": "gelu"}, "dlcore's VideoMAE")
    return "videomae_vit_b_16", {
        "patch_size": config["patch_size"],
        "tubelet": config["tubelet_size"],
        **block_fields(config),
        "decoder_depth": 0,
        "final_norm": not config["use_mean_pooling"],
        "epsilon": config["layer_norm_eps"],
    }


def _video_mae_classifier(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _video_mae(config)
    return name, fields | {"num_classes": len(config["id2label"])}


def _load_video_mae(model: MAE, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    side = config["image_size"]
    return from_torch_names(model, weights, (config["num_frames"], side, side, config.get("num_channels", 3)))


def _encoded(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values"], method="encode")}


def _clip_logits(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"], method="classify")}


VJEPA2 = {"hidden_act": "gelu", "qkv_bias": True, "use_SiLU": False, "layer_norm_eps": 1e-6}


def _vjepa2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, VJEPA2, "dlcore's V-JEPA 2")
    width, predictor_width = config["hidden_size"], config["pred_hidden_size"]
    return "vjepa2_vitl_fpc64_256", {
        "image_size": config["crop_size"],
        "frames": config["frames_per_clip"],
        "patch_size": config["patch_size"],
        "tubelet": config["tubelet_size"],
        "depth": config["num_hidden_layers"],
        "width": width,
        "num_heads": config["num_attention_heads"],
        "mlp_features": int(width * config["mlp_ratio"]),
        "predictor_depth": config["pred_num_hidden_layers"],
        "predictor_width": predictor_width,
        "predictor_heads": config["pred_num_attention_heads"],
        "predictor_features": int(predictor_width * config["pred_mlp_ratio"]),
        "mask_tokens": config["pred_num_mask_tokens"],
    }


def _vjepa2_classifier(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = _vjepa2(config)
    names = ("patch_size", "tubelet", "depth", "width", "num_heads", "mlp_features")
    return "vjepa2_vitl_fpc16_256_ssv2", {
        "encoder": ClipEncoder(**{name: fields[name] for name in names}),
        "num_classes": len(config["id2label"]),
        "image_size": fields["image_size"],
        "pooler_depth": config["num_pooler_layers"],
    }


def _predicted(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values_videos"])
    return {"last_hidden_state": outputs["tokens"], "predictor_output": outputs["prediction"]}


VIDEO_MAE = ("VideoMAEModel", "VideoMAEForPreTraining")


FAMILIES = (
    Family("transformers", ("TimesformerForVideoClassification",), _timesformer, classifier, kind="video"),
    Family("transformers", ("TimesformerModel",), _timesformer, _tokens, kind="video"),
    Family("transformers", ("VivitForVideoClassification",), _vivit, classifier, kind="video"),
    Family("transformers", ("VivitModel",), _vivit, encoder, kind="video"),
    Family("transformers", VIDEO_MAE, _video_mae, _encoded, kind="encoder", load=_load_video_mae),
    Family(
        "transformers",
        ("VideoMAEForVideoClassification",),
        _video_mae_classifier,
        _clip_logits,
        kind="video",
        load=_load_video_mae,
    ),
    Family(
        "transformers",
        ("VJEPA2ForVideoClassification",),
        _vjepa2_classifier,
        classifier,
        ("pixel_values_videos",),
        "video",
    ),
    Family("transformers", ("VJEPA2Model",), _vjepa2, _predicted, ("pixel_values_videos",), "encoder"),
)
