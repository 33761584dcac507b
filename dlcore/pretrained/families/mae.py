"""Masked autoencoders of transformers, their encoder alone."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.models.mae import MAE, from_torch_names
from dlcore.pretrained.families.vit import block_fields
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]


def _mae(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"hidden_act": "gelu"}, "dlcore's MAE")
    return "mae_vit_b_16", {
        "patch_size": config["patch_size"],
        **block_fields(config),
        "mask_ratio": config["mask_ratio"],
        "epsilon": config["layer_norm_eps"],
        "decoder_depth": 0,
        "table_size": config["image_size"],
    }


def _load(model: MAE, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    return from_torch_names(model, weights, (config["image_size"], config["image_size"], config["num_channels"]))


def _encoder(model: MAE, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    images, noise = inputs["pixel_values"], inputs.get("noise")
    visible = None
    if noise is not None:
        count = int(noise.shape[1] * (1 - model.mask_ratio))
        visible = jnp.argsort(noise, axis=1)[:, :count]  # [B, K], the patches of least noise
    return {"last_hidden_state": model.apply(variables, images, visible, method="encode")}


NAMES = ("ViTMAEModel", "ViTMAEForPreTraining")


FAMILIES = (Family("transformers", NAMES, _mae, _encoder, ("pixel_values", "noise"), "encoder", _load),)
