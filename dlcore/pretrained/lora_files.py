"""LoRA files of image generators, as kohya's trainers, diffusers and ComfyUI write them, merged into a pipeline.

    W' = W + strength (alpha / r) up down        alpha: r where the file has none

    lora_unet_LAYER.lora_down.weight, .lora_up.weight, .alpha, .dora_scale; lora_te1_..., lora_te2_...             kohya
    unet.LAYER.lora_A.weight, .lora_B.weight; transformer., text_encoder., text_encoder_2.                     diffusers
    unet.LAYER.lora.down.weight, .processor.to_q_lora.down.weight                                        older diffusers
    diffusion_model.LAYER.lora_A.weight                                                                          ComfyUI

Kohya writes "_" for the dots of a layer's name. Names are diffusers', or those of the network's authors: SDXL's blocks
are counted in a row, and Flux and Stable Diffusion 3 have one layer for queries, keys and values. A file of diffusers
may hold the configuration of peft (`lora_adapter_metadata`), which is read as `dlcore.transfer.peft_files` reads it.
What is not understood is refused by its name.
"""

import copy
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from dlcore.extras import require
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.torch_diffusers import published_names
from dlcore.models.clip import CLIP
from dlcore.models.registry import family_of
from dlcore.models.stored_arrays import read_safetensors
from dlcore.models.t5 import T5
from dlcore.models.torch_weights import names_by_rules
from dlcore.ops.checks import check_shapes
from dlcore.pretrained import Pretrained
from dlcore.pretrained.pipeline import KINDS as PIPELINES
from dlcore.pretrained.pipeline import Pipeline
from dlcore.transfer.adapters import Target
from dlcore.transfer.lora import LoRA
from dlcore.transfer.peft_files import Names, scale_of

__all__ = ["merge_lora", "read_lora"]

KINDS = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "alpha": "alpha",
    "lora.alpha": "alpha",
    "dora_scale": "m",
    "lora_magnitude_vector": "m",
    "lora_magnitude_vector.weight": "m",
}


_ENDS = "|".join(re.escape(end) for end in sorted(KINDS, key=len, reverse=True))


_PARTS = r"lora_(?:unet|transformer|te\d?)_|(?:unet|transformer|text_encoder(?:_\d)?|diffusion_model)\.|"


_ENTRY = re.compile(rf"^({_PARTS})(.+?)\.({_ENDS})$")


TEXTS = {"lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}


TEXTS |= {"lora_te3_": "text_encoder_3"}


OLD_LAYERS = (
    (r"\.processor\.", "."),
    (r"\.to_(q|k|v|out|add_out|add_q|add_k|add_v)_lora(?=\.)", r".to_\1.lora"),
    (r"\.to_out(?=\.lora\.)", ".to_out.0"),
    (r"(self_attn)\.to_(q|k|v)(?=\.lora\.)", r"\1.\2_proj"),
    (r"(self_attn)\.to_out\.0(?=\.lora\.)", r"\1.out_proj"),
)
"""From the names of attention in diffusers before 0.22."""


_TWO = r"^(?:double|joint)_blocks_(\d+)_"


_ATTENTION = r"transformer_blocks.\1.attn"


AUTHORS = {
    _TWO + "(?:img|x_block)_attn_qkv$": tuple(f"{_ATTENTION}.to_{part}" for part in "qkv"),
    _TWO + "(?:txt|context_block)_attn_qkv$": tuple(f"{_ATTENTION}.add_{part}_proj" for part in "qkv"),
    _TWO + "(?:img|x_block)_attn_proj$": (f"{_ATTENTION}.to_out.0",),
    _TWO + "(?:txt|context_block)_attn_proj$": (f"{_ATTENTION}.to_add_out",),
    _TWO + "(?:img_mlp_0|x_block_mlp_fc1)$": (r"transformer_blocks.\1.ff.net.0.proj",),
    _TWO + "(?:img_mlp_2|x_block_mlp_fc2)$": (r"transformer_blocks.\1.ff.net.2",),
    _TWO + "(?:txt_mlp_0|context_block_mlp_fc1)$": (r"transformer_blocks.\1.ff_context.net.0.proj",),
    _TWO + "(?:txt_mlp_2|context_block_mlp_fc2)$": (r"transformer_blocks.\1.ff_context.net.2",),
    _TWO + "img_mod_lin$": (r"transformer_blocks.\1.norm1.linear",),
    _TWO + "txt_mod_lin$": (r"transformer_blocks.\1.norm1_context.linear",),
    r"^single_blocks_(\d+)_linear1$": (
        *(rf"single_transformer_blocks.\1.attn.to_{part}" for part in "qkv"),
        r"single_transformer_blocks.\1.proj_mlp",
    ),
    r"^single_blocks_(\d+)_linear2$": (r"single_transformer_blocks.\1.proj_out",),
    r"^single_blocks_(\d+)_modulation_lin$": (r"single_transformer_blocks.\1.norm.linear",),
    "^img_in$": ("x_embedder",),
    "^txt_in$": ("context_embedder",),
    "^time_in_in_layer$": ("time_text_embed.timestep_embedder.linear_1",),
    "^time_in_out_layer$": ("time_text_embed.timestep_embedder.linear_2",),
    "^vector_in_in_layer$": ("time_text_embed.text_embedder.linear_1",),
    "^vector_in_out_layer$": ("time_text_embed.text_embedder.linear_2",),
    "^guidance_in_in_layer$": ("time_text_embed.guidance_embedder.linear_1",),
    "^guidance_in_out_layer$": ("time_text_embed.guidance_embedder.linear_2",),
    "^final_layer_linear$": ("proj_out",),
    "^final_layer_adaLN_modulation_1$": ("norm_out.linear",),
    "^(.*)_wi_0$": (r"\1_gate",),
    "^(.*)_wi_1$": (r"\1_wi",),
}
"""From the names of the authors of Flux and Stable Diffusion 3 to diffusers', and from T5's to those here."""


SGM = (
    (r"^conv_in$", "input_blocks_0_0"),
    (r"^conv_out$", "out_2"),
    (r"^time_embedding_linear_1$", "time_embed_0"),
    (r"^time_embedding_linear_2$", "time_embed_2"),
    (r"^add_embedding_linear_1$", "label_emb_0_0"),
    (r"^add_embedding_linear_2$", "label_emb_0_2"),
    (r"^mid_block_resnets_0", "middle_block_0"),
    (r"^mid_block_attentions_0", "middle_block_1"),
    (r"^mid_block_resnets_1", "middle_block_2"),
    (r"^((?:in|out)put_blocks.*|middle_block.*)_conv1$", r"\1_in_layers_2"),
    (r"^((?:in|out)put_blocks.*|middle_block.*)_conv2$", r"\1_out_layers_3"),
    (r"_time_emb_proj$", "_emb_layers_1"),
    (r"_conv_shortcut$", "_skip_connection"),
)
"""From diffusers' names of a U-Net to those of its authors, once its blocks are counted in a row."""


def merge_lora(pipeline: Pipeline, file: str | Path, *, strength: float = 1.0) -> Pipeline:
    """Merge a LoRA file into the networks of a pipeline.

    Args:
      file: a .safetensors file of kohya's trainers, diffusers or ComfyUI.
      strength: factor of all products; 1 is as trained.

    Returns:
      Another pipeline; the given one keeps its weights.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an entry is not understood, is of a layer that the pipeline lacks, or does not fit it.
      MissingPackage: `safetensors` is not installed.
    """
    check_shapes(strength=(strength, "finite"))
    first = PIPELINES[pipeline.name].network
    networks = {first: pipeline.network} | {encoder.name: encoder.network for encoder in pipeline.encoders}
    for part, (method, new) in read_lora(file, networks).items():
        net = copy.copy(networks[part])
        method = method._replace(alpha=strength * method.alpha)
        net.variables = {**net.variables, "params": method.merge(net.variables["params"], new)}
        networks[part] = net
    encoders = tuple(encoder._replace(network=networks[encoder.name]) for encoder in pipeline.encoders)
    return dataclasses.replace(pipeline, network=networks[first], encoders=encoders)


def read_lora(
    file: str | Path, networks: Mapping[str, Pretrained]
) -> dict[str, tuple[LoRA, dict[str, dict[str, Any]]]]:
    """Read a LoRA file.

    Args:
      file: see `merge_lora`.
      networks: the pipeline's networks, the one that draws first: {"unet" or "transformer", "text_encoder", ...}.

    Returns:
      Of each network that the file changes (the method, its parameters), for `method.merge`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: as `merge_lora`.
      MissingPackage: `safetensors` is not installed.
    """
    require("safetensors", what=f"file={str(file)!r}")
    if not Path(file).is_file():
        raise FileNotFoundError(f"file={str(file)!r}: no file; allowed: a .safetensors file")
    layers: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    entries: dict[tuple[str, str], str] = {}
    for entry, value in read_safetensors(Path(file)).items():
        renamed = entry
        for pattern, replacement in OLD_LAYERS:
            renamed = re.sub(pattern, replacement, renamed)
        if (match := _ENTRY.match(renamed)) is None:
            raise ValueError(f"{entry}: no entry of a LoRA; allowed: LAYER.lora_down.weight, .lora_up.weight, .alpha")
        name = match[1].rstrip(".")
        part = TEXTS.get(name, name if name.startswith("text_encoder") else next(iter(networks)))
        if part == "text_encoder_3" and "text_encoder_3" not in networks:
            part = "text_encoder_2"  # Flux's T5 is its second
        if part not in networks:
            raise ValueError(f"{entry}: the pipeline has no {part}; allowed: {', '.join(networks)}")
        value = np.asarray(value, np.float32)
        value = value.reshape(-1) if match[3].startswith("lora_magnitude") else value  # [1, out, 1, 1] of a convolution
        layers.setdefault((part, match[2]), {})[KINDS[match[3]]] = value
        entries.setdefault((part, match[2]), entry)
    parts, configs = {part for part, _ in layers}, _configurations(Path(file))
    tables = {part: _table(networks[part]) for part in parts}
    flat = {part: flatten_dict(networks[part].variables["params"]) for part in parts}
    products: dict[str, dict[str, dict[str, Any]]] = {}
    for (part, layer), arrays in layers.items():
        entry = entries[part, layer]
        if not (targets := _find(tables[part], layer.replace(".", "_"))):
            raise ValueError(
                f"{entry}: the {part} has no layer {layer}; allowed: {', '.join([*tables[part]][:5])}, ..."
            )
        if not {"down", "up"} <= arrays.keys():
            raise ValueError(f"{entry}: lacks its other matrix; allowed: both of a product")
        rank = len(arrays["down"])
        scale = arrays["alpha"].item() / rank if "alpha" in arrays else 1.0
        if part in configs:
            config = configs[part]
            for key, refused in (
                ("init_lora_weights", ("pissa", "olora")),
                ("use_dora", () if "m" in arrays else (True,)),
            ):
                if config.get(key) in refused:
                    raise ValueError(
                        f"{key}={config[key]!r}: beside {entry}, not in dlcore; allowed: read_peft's files"
                    )
            scale = scale_of(config, layer)
        new = _products(entry, arrays, scale, targets, flat[part])
        if repeated := new.keys() & products.setdefault(part, {}).keys():
            raise ValueError(f"{entry}: a second product of {min(repeated)}; allowed: one of each layer")
        products[part] |= new
    # The factor alpha / r of each layer is in its B.
    has_norms = {part: any("m" in matrices for matrices in new.values()) for part, new in products.items()}
    return {
        part: (LoRA(1, 1.0, tuple(name.replace("/kernel", "") for name in new), dora=has_norms[part]), new)
        for part, new in products.items()
    }


def _configurations(file: Path) -> dict[str, dict[str, Any]]:
    """Read the configurations of peft that diffusers writes: {"unet.r": 4, ...} -> {"unet": {"r": 4, ...}}."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as opened:
        text = (opened.metadata() or {}).get("lora_adapter_metadata")
    configs: dict[str, dict[str, Any]] = {}
    for key, value in json.loads(text or "{}").items():
        part, _, name = key.partition(".")
        configs.setdefault(part, {})[name] = value
    return configs


def _table(net: Pretrained) -> dict[str, Target]:
    """Names of the layers of a network, with "_" for each dot, diffusers' and its authors' -> what they are here."""
    if isinstance(net.model, CLIP | T5):
        rules = (*family_of(net.name).TORCH_NAMES, (r"^text_head\.", "text_projection."))
        names = names_by_rules({"params": net.variables["params"]}, rules)
    else:
        names = published_names(net.model, {"params": net.variables["params"]})
    table = {
        name.removesuffix(".weight").replace(".", "_"): target
        for name, target in Names(names).targets.items()
        if target.path.endswith("/kernel")
    }
    if isinstance(net.model, ConditionalUNet):
        resnets = net.model.num_res_blocks
        table |= {_sgm_name(name, resnets, table): target for name, target in table.items()}
    return table


def _sgm_name(name: str, resnets: int, table: Mapping[str, Any]) -> str:
    """Count the blocks of a U-Net in a row, as its authors do: down blocks from 1 on, up blocks from 0 on."""
    match = re.match(r"^(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_(.*)$", name)
    if match:
        way, block, kind, position = match[1], int(match[2]), match[3], int(match[4])
        count = block * (resnets + 1) + (resnets if kind.endswith("samplers") else position) + (way == "down")
        has_attention = any(key.startswith(f"up_blocks_{block}_attentions_") for key in table)
        inner = {"resnets": 0, "attentions": 1, "downsamplers": 0, "upsamplers": 1 + has_attention}[kind]
        rest = "op" if kind == "downsamplers" else match[5]
        name = f"{'input' if way == 'down' else 'output'}_blocks_{count}_{inner}_{rest}"
    for pattern, replacement in SGM:
        name = re.sub(pattern, replacement, name)
    return name


def _find(table: Mapping[str, Target], layer: str) -> list[Target]:
    """The layers that a name stands for, in the order of its outputs; none where the network has no such layer."""
    if layer in table:
        return [table[layer]]
    for pattern, names in AUTHORS.items():
        if match := re.match(pattern, layer):
            targets = [table.get(match.expand(name).replace(".", "_")) for name in names]
            return [] if None in targets else targets
    return []


def _products(
    entry: str, arrays: Mapping[str, np.ndarray], scale: float, targets: Sequence[Target], flat: Mapping[Any, Any]
) -> dict[str, dict[str, Any]]:
    """A and B of each target; layers that are one in the file have A in common."""
    down, up = arrays["down"], arrays["up"]
    kernels = [flat[tuple(target.path.split("/"))] for target in targets]
    widths = [
        len(range(kernel.shape[-1])[target.columns(kernel.shape[-1])])
        for target, kernel in zip(targets, kernels, strict=True)
    ]
    rank, inputs, outputs = len(down), int(np.prod(kernels[0].shape[:-1])), sum(widths)
    if down.size != inputs * rank or up.size != outputs * rank or len(up) != outputs:
        raise ValueError(f"{entry}: down {down.shape}, up {up.shape}; allowed: ({rank}, {inputs}), ({outputs}, {rank})")
    a = down.transpose(*range(2, down.ndim), 1, 0).reshape(*kernels[0].shape[:-1], rank)
    # The authors have the shift before the scale.
    shift = outputs // 2 if re.search(r"final_layer[._]adaLN", entry) else 0
    b = np.roll(scale * up.reshape(outputs, rank).T, shift, -1)
    cuts = np.cumsum(widths)[:-1]
    norms = [None] * len(targets)
    if "m" in arrays:
        m = arrays["m"]
        if m.size != outputs or m.shape[:1] != (outputs,):  # LyCORIS has norms of inputs, [1, in], too
            raise ValueError(f"{entry}: norms {m.shape}; allowed: ({outputs}, 1), one for each output")
        norms = np.split(np.roll(m.reshape(-1), shift), cuts)
    return {
        target.name: {"a": jnp.asarray(a), "b": jnp.asarray(part)} | ({} if m is None else {"m": jnp.asarray(m)})
        for target, part, m in zip(targets, np.split(b, cuts, -1), norms, strict=True)
    }
