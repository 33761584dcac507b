"""Published weights of the diffusers library, as the variables of the network of the same form.

    ConditionalUNet     UNet2DModel, and UNet2DConditionModel with a context
    ControlNet          ControlNetModel
    SpatialTransformer  Transformer2DModel
    AutoencoderKL       AutoencoderKL
    AutoencoderTiny     AutoencoderTiny
    VQModel             VQModel, by `dlcore.generative.vq_model.from_torch_names`
    DiT                 DiTTransformer2DModel, with `ends_at_period=True`
    MMDiT               SD3Transformer2DModel
    Flux                FluxTransformer2DModel
    PixArt              PixArtTransformer2DModel

Names are diffusers', written as flax paths; `NAMES` holds what the rule of `dlcore.models.torch_weights` does not say.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.generative.flux import Flux
from dlcore.generative.mmdit import MMDiT
from dlcore.generative.pixart import PixArt
from dlcore.models.torch_weights import PublishedNames, fill_from_torch, names_by_rules
from dlcore.models.weight_files import unwrap_state_dict

__all__ = ["from_torch_names", "published_names"]

NAMES = [
    (r"(\d)_(?=[a-z])", r"\1."),
    (r"mid_block_(?=[a-z])", "mid_block."),
    (r"downsamplers\.0_conv", "downsamplers.0.conv"),
    (r"linear\.(\d)", r"linear_\1"),
    (r"controlnet_mid\.block", "controlnet_mid_block"),
    (r"\.attention\.", "."),
    (r"to_out\.0", "to_out.0"),
    (r"ff_in", "ff.net.0.proj"),
    (r"ff_out", "ff.net.2"),
    (r"proj_out\.(\d)", r"proj_out_\1"),
    (r"^conditioning", "transformer_blocks.0.conditioning"),
    (r"\.conditioning", ".norm1.emb"),
    (r"classes", "class_embedder.embedding_table"),
    (r"modulation", "norm1.linear"),
    (r"\.attn\.(?:proj)", ".attn1.to_out.0"),
    (r"\.attn\.([qkv])\w+", r".attn1.to_\1"),
    (r"mlp\.fc1", "ff.net.0.proj"),
    (r"mlp\.fc2", "ff.net.2"),
    (r"patch_embed", "pos_embed.proj"),
]
"""Pairs of `re.sub` on the name that a leaf's path gives."""

TRANSFORMERS = MMDiT, Flux, PixArt
TRANSFORMER_NAMES = [
    (r"linear\.(\d)", r"linear_\1"),
    (r"fc1", "net.0.proj"),
    (r"fc2", "net.2"),
    (r"emb_timestep", "emb.timestep"),
    (r"patch_embed", "pos_embed.proj"),
]
"""Such pairs of the transformers of text and image, whose other names are diffusers' own."""

OLD_NAMES = (
    (r"\.(attentions\.\d+)\.(q|k|v)(?:uery|ey|alue)\.", r".\1.to_\2."),
    (r"\.(attentions\.\d+)\.proj_attn\.", r".\1.to_out.0."),
)
"""What turns the names of the attention of autoencoders before diffusers 0.18 into today's."""


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any], *inputs: Any) -> Any:
    """Convert a state dict of diffusers to the variables of a network.

    Args:
      model: a network of the list above.
      state_dict: {name: array}.
      *inputs: inputs that the model takes, arrays or shapes.

    Returns:
      {"params": ...}.
    """
    entries, state_dict = {}, unwrap_state_dict(state_dict)
    if isinstance(model, MMDiT) and "pos_embed.pos_embed" in state_dict:
        state_dict = {**state_dict}
        _check_positions(model, np.asarray(state_dict.pop("pos_embed.pos_embed")))
    for name, value in state_dict.items():
        value = np.asarray(value)
        for pattern, replacement in OLD_NAMES:
            if re.search(pattern, name):
                name = re.sub(pattern, replacement, name)
                value = value[..., 0, 0] if value.ndim == 4 else value  # once convolutions of 1 x 1
        is_linear = name.endswith(("proj_in.weight", "proj_out.weight")) and value.ndim == 2  # use_linear_projection
        if is_linear and not isinstance(model, TRANSFORMERS):
            value = value[:, :, None, None]
        if name == "pos_embed.proj.weight":  # transformers multiply flat patches
            value = value.transpose(0, 2, 3, 1).reshape(len(value), -1)
        first = re.sub(r"^transformer_blocks\.\d+\.norm1\.emb", "transformer_blocks.0.norm1.emb", name)
        if getattr(model, "shared_embedding", False) and first != name:
            if not np.array_equal(value, np.asarray(state_dict[first])):
                raise ValueError(f"state_dict: {name} is not {first}; allowed: with shared_embedding=False")
            continue
        entries[name] = value
    shapes = jax.eval_shape(lambda key, *inputs: model.init(key, *inputs), jax.random.key(0), *inputs)
    return fill_from_torch(shapes, entries, _rules(model), what=type(model).__name__)


def published_names(model: nn.Module, variables: Any) -> PublishedNames:
    """Name the variables of a network as diffusers does.

    Args:
      model: a network of the list above.
      variables: its variables, {"params": ...}.
    """
    return names_by_rules(variables, _rules(model))


def _rules(model: nn.Module) -> list[tuple[str, str]]:
    return TRANSFORMER_NAMES if isinstance(model, TRANSFORMERS) else NAMES


def _check_positions(model: MMDiT, table: np.ndarray) -> None:
    """Compare the file's positions with the model's, which computes them; files may have half precision."""
    positions = model.positions().reshape(1, -1, model.width)
    if table.shape != positions.shape or np.abs(table.astype(np.float32) - positions).max() > 2e-3:
        raise ValueError(
            f"state_dict: pos_embed.pos_embed {table.shape} is not the grid of max_grid={model.max_grid}, "
            f"base_grid={model.base_grid}; allowed: fields of the network that the file is of"
        )
