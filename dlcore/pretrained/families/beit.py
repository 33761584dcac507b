"""BEiT of transformers and timm, and data2vec of transformers, which is the same network."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.pretrained.families.vit import timm_fields, transformer_fields
from dlcore.pretrained.family import Family, check_config, classifier, without_head

__all__ = ["FAMILIES"]


def _beit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore's BEiT")
    pool = {} if config.get("use_mean_pooling", True) else {"pool": "token"}
    fields = transformer_fields(config) | pool
    if config.get("layer_scale_init_value") == 0:
        fields["layer_scale"] = None
    if not config.get("use_relative_position_bias", False):
        fields["relative_bias"] = False
    if config.get("use_absolute_position_embeddings"):
        fields["absolute_positions"] = True
    return "beit_base_patch16_224", fields


FIXED = {"use_shared_relative_position_bias": False}


def _data2vec_encoder(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Read an encoder whose class has no pooler: with `use_mean_pooling` no norm follows its last block."""
    name, fields = without_head(_beit)(config)
    return name, {"pool": "none"} | fields


def _encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run an encoder; its tokens are normalized where the class token is read."""
    (images,) = inputs.values()
    if model.pool == "token":
        token, patches = model.apply(variables, images, method="tokens")
        tokens = jnp.concatenate([token[:, None], patches], 1)
    else:
        tokens = model.clone(pool="none", num_classes=0).apply(variables, images)
    return {"last_hidden_state": tokens} | ({} if model.pool == "none" else classifier(model, variables, inputs))


def _timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "beit_base_patch16_224", timm_fields(config, "avg")


FAMILIES = (
    Family("transformers", ("BeitForImageClassification", "Data2VecVisionForImageClassification"), _beit, classifier),
    Family("transformers", ("BeitModel",), without_head(_beit), _encoder),
    Family("transformers", ("Data2VecVisionModel",), _data2vec_encoder, _encoder),
    Family("timm", ("beit_*_patch16_*", "beitv2_*_patch16_*"), _timm, classifier, ("x",)),
)
