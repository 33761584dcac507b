"""Names of Grounding DINO's parameters in published files: those of its backbones are their networks' own."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.detection.grounding_dino import GroundingDINO
from dlcore.models import bert, feature_maps
from dlcore.models.torch_weights import fill_from_torch

__all__ = ["from_torch_names"]

NAMES = (
    (r"^(en|de)coder\.(\d+)[._]", r"model.\1coder.layers.\2."),
    (r"^decoder_(reference_points_head|layer_norm)\.", r"model.decoder.\1."),
    (r"^query_positions$", "model.query_position_embeddings.weight"),
    (r"^(encoder_output_\w+|enc_output\w*|text_projection|input_proj_vision|level_embed)(?=\.|$)", r"model.\1"),
    (r"_bias$", ".bias"),
    (r"\.fusion_layer\.attn_", ".fusion_layer.attn."),
    (r"\.text_enhancer_layer\.attn\.", ".text_enhancer_layer.self_attn."),
    (r"\.text_enhancer_layer\.norm1\.", ".text_enhancer_layer.layer_norm_before."),
    (r"\.text_enhancer_layer\.norm2\.", ".text_enhancer_layer.layer_norm_after."),
    (r"\.(self_attn|encoder_attn_text)\.proj\.", r".\1.out_proj."),
    (r"\.mlp\.fc(\d)\.", r".fc\1."),
)
IMAGE, TEXT = "model.backbone.conv_encoder.model.", "model.text_backbone."
COPY = r"^model\.decoder\.(?=(bbox|class)_embed\.)"
"""Before second names of the heads, which a file may have in place of the first."""


def from_torch_names(model: GroundingDINO, state_dict: Mapping[str, Any]) -> Any:
    """Convert the state dict of transformers' GroundingDino or MMGroundingDino.

    Args:
      model: the detector.
      state_dict: {name: array}.

    Returns:
      {"params": ...}.
    """
    entries = {re.sub(COPY, "", key): value for key, value in state_dict.items()}
    entries |= {key: value for key, value in state_dict.items() if not re.search(COPY, key)}
    parts = {
        front: {key.removeprefix(front): entries.pop(key) for key in list(entries) if key.startswith(front)}
        for front in (IMAGE, TEXT)
    }
    for i in range(1, model.decoder_layers if model.scaled else 0):  # one for all layers
        if "class_embed.0.bias" in entries:
            entries.setdefault(f"class_embed.{i}.bias", entries["class_embed.0.bias"])
    side = model.EXAMPLE_SIDE
    inputs = jnp.zeros((1, side, side, 3)), jnp.zeros((1, 1), jnp.int32)
    shapes = dict(jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))["params"])
    text = {"params": shapes.pop("text_backbone")}
    shapes.pop("backbone")
    params = fill_from_torch({"params": shapes}, entries, NAMES, what="GroundingDINO", optional=r"^bbox_embed\.[1-9]")[
        "params"
    ]
    optional = f"{bert.TORCH_OPTIONAL}|{bert.TORCH_IGNORED}"
    older = bert.TORCH_OLD_NAMES
    text = fill_from_torch(text, parts[TEXT], bert.TORCH_NAMES, what="BERT", older=older, optional=optional)
    image = feature_maps.from_torch_names(model.backbone, parts[IMAGE])
    return {"params": {**params, "text_backbone": text["params"], "backbone": image["params"]}}
